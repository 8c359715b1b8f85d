"""The terminal report: what it says, in which order, and that no name can steer a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from helpers import example_reports
from mmbd.render import policy_words, words
from mmbd.render.facts import model_facts
from mmbd.render.terminal import line, terminal
from mmbd.results.finding import Test
from mmbd.results.report import Report, Stability


def plain(report: Report, encoding: str = "utf-8") -> str:
    """As it arrives in a pipe."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    terminal(report, Console(file=file, force_terminal=False, _environ={"COLUMNS": "40"}))
    file.flush()
    return raw.getvalue().decode(encoding)


def coloured(report: Report, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=width, _environ={})
    terminal(report, console)
    return file.getvalue()


def test_the_verdict_comes_first_with_target_p_and_level():
    first = plain(example_reports.backdoored()).splitlines()[0]
    assert first == 'BACKDOORED  target class 3 "cat"; p = 0.0021 (population null) at level 0.05'
    first = plain(example_reports.clean()).splitlines()[0]
    assert first == "CLEAN  nothing found; p = 0.41 (population null) at level 0.05"
    first = plain(example_reports.not_evaluable()).splitlines()[0]
    assert first == "NOT EVALUABLE  the outputs are probabilities (they sum to 1), not logits"
    assert plain(example_reports.refused()).splitlines()[:2] == [
        "NOT EVALUABLE  refused: the file holds a program; globals: os.system, builtins.eval",
        "model.pt",
    ]
    first = plain(example_reports.two_targets()).splitlines()[0]
    assert first.startswith('BACKDOORED  target classes 3 "cat" and 9 "truck"; p')
    first = plain(example_reports.reference()).splitlines()[0]
    assert first.startswith('BACKDOORED  target classes 6 "frog", 1 "car", 2 "bird", 3 "cat", 7')
    assert 'horse" and 1 more; p = 0.0099' in first


def test_classes_are_sorted_with_bars_and_targets_marked():
    lines = plain(example_reports.backdoored()).splitlines()
    rows = [row for row in lines if re.match(r"^[> ] {3,6}\d+  ", row)]
    assert len(rows) == 10
    assert rows[0] == ">      3  cat        41.70  " + "#" * 24 + "  target"
    assert rows[1] == "       6  frog       18.80  " + "#" * 11
    values = [float(row.split()[2 + row.startswith(">")]) for row in rows]
    assert values == sorted(values, reverse=True)


def test_every_null_is_listed_and_one_decides():
    text = plain(example_reports.backdoored())
    assert re.search(r"^>  population +0\.0021  decides: clean networks", text, re.MULTILINE)
    assert re.search(r"^   paper \(eq\. 7\) +0\.00034  .*not calibrated$", text, re.MULTILINE)
    assert re.search(r"^   reference +-  no reference models were given$", text, re.MULTILINE)
    assert text.count("decides") == 1


def test_what_was_run_and_what_it_cannot_see():
    text = plain(example_reports.backdoored())
    assert "detector                 mm-bd, version 1\n" in text
    assert "settings                 method fast\n" in text
    assert "maximum margins          restarts 4, steps 20, rule l2, size 0.05" in text
    assert "searches                 40\n" in text
    assert "converged early          3\n" in text
    assert "no gradient" not in text
    assert "gradient evaluations     800\n" in text
    assert "time                     1.4 s on cpu\n" in text
    assert "seed                     0\n" in text
    assert f"\nSHA-256 {example_reports.model().sha256}\n" in text
    assert 'class 3 "cat" wins 4, class 6 "frog" wins 1; p from 0.0019 to 0.20, within' in text
    for caveat in example_reports.CAVEATS:
        assert f"  - {caveat}\n" in text


def test_further_columns_stand_beside_the_first_under_their_names():
    text = plain(example_reports.universal())
    assert "\nMaximum margin of every class, in logits, largest first\n" in text
    heads = [row.split() for row in text.split("largest first\n")[1].split(">")[0].splitlines()]
    assert heads == [
        ["universal-"],
        ["maximum", "perturbation"],
        ["margin", "gain"],
        ["(logits)", "(logits)"],
    ]
    assert ">      3  cat        41.70         9.100  ####" in text
    assert "       4  deer       16.60             -  ####" in text
    assert "universal perturbations  inputs 10, steps 8\n" in text
    assert "universal perturbations  none\n" in plain(example_reports.backdoored())


def test_classes_stand_in_the_order_of_what_decides():
    text = plain(example_reports.by_evidence())
    assert "of every class, in logits, in the order of what decides (margin times gain)\n" in text
    rows = re.findall(r"^[> ] +(\d) +[a-z]+ +\d", text, re.MULTILINE)
    assert rows[:10] == ["7", "9", "6", "5", "4", "3", "2", "1", "0", "8"]
    assert "########################  target" in text  # the largest margin fills its bar


def test_the_files_own_words_and_several_seeds_are_told():
    report = replace(example_reports.backdoored(), claimed=("bounds", "std\x1b"))
    assert ("by the file's own word", "bounds, std\\x1b") in model_facts(report)
    assert line(report).endswith(" at level 0.05; by the file's word: bounds, std\\x1b")
    stability = Stability((0, 1, 2), (3, 3, 1), (0.01, 0.02, 0.4), decides=1)
    said = words.stability(replace(report, stability=stability))
    assert "within the level in 2 of 3. The p-value of all together keeps the level" in said
    assert "largest of the 2 smallest, times 3/2. What is shown is seed 1's." in said


def test_class_p_values_of_reference_models():
    text = plain(example_reports.reference())
    assert ">      6  frog       18.80     0.0099  ###########  target\n" in text
    assert "       5  dog        13.30       0.50  ########\n" in text


def test_a_threshold_decides_and_low_values_come_first():
    text = plain(example_reports.ALL["neural_cleanse"]())
    assert text.startswith('BACKDOORED  target class 3 "cat"; MAD 8.4, above its threshold 2\n')
    assert "\nMask norm of every class, in pixels, smallest first: low values are suspicious\n" in text
    rows = [row for row in text.splitlines() if re.match(r"^[> ] {3,6}\d+  ", row)]
    assert rows[0] == ">      3  cat         12.2      8.400  ###  target"
    assert rows[-1] == "       5  dog        110.0      1.400  " + "#" * 24
    assert "largest over second" not in text
    assert "\n>  MAD  8.4, above 2  decides\n" in text
    assert "settings      steps 1000, learning rate 0.1, early stop True\n" in text
    assert "optimiser     betas [0.5, 0.9]\n" in text
    assert "evaluations   640,000\n" in text
    assert "gradient evaluations" not in text
    assert "samples used  100\n" in text
    clean = plain(example_reports.ALL["no_outlier"]())
    assert clean.startswith("CLEAN  nothing found; MAD 1.4, not above its threshold 2\n")
    assert 'class 3 "cat" wins 2, no class comes first in 1; no p-value.' in clean


def test_on_the_low_side_of_a_threshold():
    test = Test("entropy", statistic=0.1, threshold=0.2, suspicious="low")
    made = example_reports.ALL["no_class"]()
    assert "; entropy 0.1, below its threshold 0.2" in line(made.revised(tests=(test,), decided_by="entropy"))
    assert words.side(replace(test, statistic=0.3)) == "not below"


def test_pairs_of_classes_the_most_suspicious_first():
    text = plain(example_reports.ALL["pairs"]())
    assert "p = 0.00040 (order statistic test) at level 0.05" in text
    assert '\nClasses, most suspicious first\n  3 "cat", 0 "plane",' in text
    ends = "from a source class to a target class"
    high, low = text.split(f"Transfer rate {ends}, largest first\n")[1].split(
        f"\nDistance (pixels) {ends}, smallest first: low values are suspicious\n"
    )
    assert high.startswith('>     0.9600  class 2 "bird" -> class 3 "cat"\n')
    assert low.startswith('>     0.0400  class 2 "bird" -> class 3 "cat"\n')
    shown = [float(row.split()[0]) for row in high.replace(">", " ").splitlines() if row.strip()]
    assert len(shown) == 5
    assert shown == sorted(shown, reverse=True)


def test_a_flag_without_a_class():
    text = plain(example_reports.ALL["no_class"]())
    assert text.startswith(
        "BACKDOORED  no target class is named; meta-classifier 0.93, above its threshold 0.5\n"
    )
    assert "every class" not in text
    assert "shadow models  count 256, architecture resnet8\n" in text


def test_columns_without_room_are_named():
    plates = example_reports.ALL["many_columns"]()
    wide, narrow = plain(plates), re.sub(r"\x1b\[[0-9;]*m", "", coloured(plates, 60))
    assert wide.startswith("CLEAN  nothing found\n")
    assert "Columns not shown here: the cat of" in wide
    assert "Columns not shown here: the bird of" in narrow
    assert max(len(row) for row in narrow.splitlines()) <= 60


def test_many_classes_are_cut_to_ten_and_a_range():
    text = plain(example_reports.thousand())
    assert text.count("some ImageNet c...") == 10
    assert re.search(r"\n    \.\.\. 990 more, between 8\.\d+ and 21\.\d+\n", text)


def test_classes_without_a_statistic_are_named():
    text = plain(example_reports.few_classes())
    assert "Without a valid statistic: class 1." in text
    assert re.search(r"^ +retries after memory ran out +2$", text, re.MULTILINE)
    assert re.search(r"^ +no gradient at the start +4$", text, re.MULTILINE)
    assert "Without a valid statistic: classes 0, 1, 2." in plain(example_reports.unfinished())


@pytest.mark.parametrize("name", example_reports.ALL)
def test_plain_output_is_neither_wrapped_nor_coloured(name: str):
    report = example_reports.ALL[name]()
    text = plain(report)
    assert "\x1b" not in text
    assert text.isprintable() or set(filter(lambda c: not c.isprintable(), text)) == {"\n"}
    narrow, wide = plain(report), coloured(report, width=100_000)
    unstyled = re.sub(r"\x1b\[[0-9;]*m", "", wide).replace("█", "#")
    assert unstyled == narrow


@pytest.mark.parametrize("name", example_reports.ALL)
def test_a_terminal_sees_no_line_that_is_too_long_because_of_prose(name: str):
    for row in re.sub(r"\x1b\[[0-9;]*m", "", coloured(example_reports.ALL[name]())).splitlines():
        assert len(row) <= 80 or row.startswith((" ", ">"))


def test_names_cannot_steer_the_terminal():
    text = coloured(example_reports.hostile())
    codes = set(re.findall(r"\x1b.{0,6}", text))
    assert all(re.match(r"\x1b\[(0|1|2|1;31|1;4)m", code) for code in codes)
    assert not set("\x07\r\x85\x9b\u202e\u2066\u200b\u2028") & set(text)
    assert "[red]rich[/red] [link=fil..." in text
    assert r"esc\x1b[31mape" in text


def test_an_encoding_without_a_name_s_characters_gets_escapes():
    report = example_reports.backdoored()
    names = ("東京", "Grün", *report.class_names[2:])
    renamed = Report.from_json(report.to_json().replace('"plane"', '"東京"').replace('"car"', '"Grün"'))
    assert renamed.class_names == names
    text = plain(renamed, "ascii")
    assert r"\u6771\u4eac" in text
    assert r"Gr\xfcn" in text
    assert "東京" in plain(renamed)
    for name in example_reports.ALL:
        assert plain(example_reports.ALL[name](), "ascii")


@pytest.mark.parametrize("name", example_reports.ALL)
def test_the_summary_is_one_line(name: str):
    report = example_reports.ALL[name]()
    text = line(report)
    assert text.isprintable()
    assert len(text) < 700
    assert text.startswith(f"{policy_words.verdict(report)}: ")


def test_the_summary_names_model_and_finding():
    assert line(example_reports.backdoored()) == (
        'backdoored: models/badnet-patch.safetensors: target class 3 "cat"; '
        "p = 0.0021 (population null) at level 0.05"
    )


def test_what_was_assumed_of_inputs_comes_before_the_evidence_and_once():
    said = ("assumed: inputs from 0 to 1", "check the inputs: odd", "another caveat")
    out = plain(example_reports.backdoored().revised(caveats=said))
    places = [out.index(part) for part in ("Check the inputs: odd", "Assumed: inputs", "Maximum margin")]
    assert places == sorted(places)
    assert out.count("ssumed: inputs") == 1
    assert out.index("another caveat") > places[-1]
