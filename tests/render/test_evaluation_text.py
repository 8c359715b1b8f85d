"""Tables as text, Markdown, CSV and JSON: the numbers, and names that mean harm."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Console

from helpers import example_evaluations
from helpers.toy_zoos import result
from mmbd.cli.evaluate import show
from mmbd.render import evaluation_text as formats
from mmbd.render.evaluation_text import comma_separated, markdown, notes, text, to_json


def one(**changes):
    results = [
        result(
            "b",
            backdoored=True,
            flagged=True,
            named=(1,),
            targets=(1,),
            score=3.0,
            p_value=0.001,
            detector="mm-bd",
        ),
        result("c", score=0.5, p_value=0.4, detector="mm-bd"),
    ]
    return example_evaluations.evaluation(results, **changes)


def test_plain_text():
    lines = text(one()).splitlines()
    assert lines[0] == "Overall"
    assert lines[1].split()[:3] == ["detector", "detection", "(right"]
    cells = re.split(r"  +", lines[2])
    assert cells[:4] == [
        "mm-bd",
        "1.000 (1/1; 0.025-1.000)",
        "0.000 (0/1; 0.000-0.975)",
        "1.000 (0.207-1.000)",
    ]
    assert cells[4:6] == ["1.000", "0.2500"]
    assert cells[-2:] == ["0", "1.0 s"]
    assert "By attack" in lines
    assert "By group" not in lines


def test_what_belongs_to_clean_models_stands_in_their_row():
    lines = text(one()).splitlines()
    start = lines.index("By attack")
    badnet, clean = (re.split(r"  +", line) for line in lines[start + 2 : start + 4])
    assert badnet[:4] == ["badnet", "mm-bd", "1.000 (1/1; 0.025-1.000)", "1.000 (0.207-1.000)"]
    assert clean[:4] == ["clean", "mm-bd", "-", "0.000 (0/1; 0.000-0.975)"]


def test_notes_say_what_was_left_out():
    changes = {
        "half": "odd",
        "without_seed": 3,
        "attacks": ("badnet",),
        "excluded": (("x", "weak"),),
        "broken": (("y", "gone"),),
    }
    said = notes(one(**changes))
    assert "Models of development: 2; level 0.05, seed 0." in said[0]
    assert said[1:] == [
        "Only models trained with an odd seed.",
        "Without a known seed, hence in neither half: 3.",
        "Only ordinary clean models and: badnet.",
        "Excluded, counting neither way: 1.",
        "Failures, listed with their reasons: 1.",
    ]
    assert len(notes(one())) == 1


def test_figures_that_used_the_truth_are_marked():
    results = [result("b", backdoored=True, score=3.0, detector="d"), result("c", score=0.5, detector="d")]
    found = example_evaluations.evaluation(results)
    assert re.search(r" \d\.\d{3}\* \(.*\)  \d\.\d{3}\* ", text(found))
    assert any(note.startswith("* This detector gives no p-value") for note in notes(found))


def test_hits_by_the_flag_alone_are_told():
    found = example_evaluations.evaluation([result("b", backdoored=True, flagged=True, score=1.0)])
    assert "1.000 (1/1; 0.025-1.000; 1 by the flag alone)" in text(found)


def test_csv_has_every_figure_as_a_number():
    rows = list(csv.DictReader(io.StringIO(comma_separated(example_evaluations.ordinary()))))
    assert len(rows) == 4 * (1 + 9 + 2)
    first = rows[0]
    found = example_evaluations.ordinary().tables.overall[0]
    assert (first["table"], first["detector"], first["part"]) == ("overall", "mm-bd", "all")
    assert int(first["detection_hits"]) == found.detection.hits
    assert float(first["auc_low"]) == found.auc.low
    assert float(first["uniformity_p_value"]) == found.uniformity.p_value
    assert float(first["located_auc"]) == found.located_auc
    clean = next(row for row in rows if row["part"] == "clean")
    assert (clean["auc_value"], clean["partial_auc"], clean["detection_n"]) == ("", "", "0")


def test_json_holds_everything_and_is_valid():
    found = example_evaluations.ordinary()
    content = json.loads(to_json(found), parse_constant=pytest.fail)
    assert content["environment"]["torch"] == "2.13.0"
    assert content["tables"]["overall"][0]["detection"]["hits"] == (found.tables.overall[0].detection.hits)
    assert content["tables"]["overall"][0]["roc"][0] == [0, 0]
    assert len(content["models"]) == len(found.results)
    assert content["models"][0]["detection"]["targets"]
    assert content["excluded"] == [{"model": "model98", "reason": "attack success rate 41 %"}]
    assert content["failures"] == [{"what": "model99", "why": "the file is empty (0 bytes)"}]


def test_markdown_is_a_table_whatever_the_names():
    for name in example_evaluations.ALL:
        found = example_evaluations.ALL[name]()
        made = markdown(found)
        for table in formats.shown(found):
            lines = made.split(f"### {table.title}\n\n")[1].split("\n\n")[0].splitlines()
            cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
            assert cells == {len(table.headings) + 1}
            assert len(lines) == len(table.rows) + 2
        assert "<script" not in re.sub(r"\\.", "", made)


def test_names_that_mean_harm():
    found = example_evaluations.hostile()
    for form in (text, markdown, comma_separated):
        assert not {"\x1b", "\u202e"} & set(form(found))
    for row in csv.reader(io.StringIO(comma_separated(found))):
        assert not any(re.match(r"[=+@\t\r]", cell) for cell in row)
    assert max(map(len, text(found).splitlines())) < 1000


HARMFUL = (
    "@security",
    "a@b.example",
    "https://evil.example/x",
    "http://evil.example",
    "www.evil.ex",
    "ftp://evil.example",
    "owner/repo#12",
    "#12",
    "GH-12",
    "WWW.evil.ex",
    "`code`",
    "<b>bold</b>",
    "a|b",
    "[x](y)",
    "- item",
    "1. item",
    "&copy;",
)


@pytest.mark.parametrize("name", HARMFUL)
def test_markdown_makes_nothing_of_a_name(name):
    found = example_evaluations.evaluation(
        [result("b", detector=name, score=1.0), result("c", detector=name, score=0.5)],
        broken=((name, name),),
        zoo=name,
    )
    made = markdown(found)
    # What GitHub links, mentions or refers to, in the text that a page shows.
    shown = re.sub(r"\\(.)|&#8203;", lambda found: found[1] or "\u200b", made)
    assert not re.search(r"@\w|://|www\.|#\d|GH-\d", shown, re.IGNORECASE)
    bare = re.sub(r"\\.", "", made)
    assert not re.search(r"[`<\[]|&(?!#8203;)", bare)
    assert "\n- - " not in made
    assert not re.search(r"\n- \d+\. ", made)
    # Only what is not seen was added.
    assert name in shown.replace("\u200b", "")


FORMULAS = (
    "=1+1",
    "+1",
    "-1+2",
    "@SUM(1)",
    " =HYPERLINK(1)",
    "\u3000=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "\ufe661",
    " \u00a0=1",
    "\u22121",
)


@pytest.mark.parametrize("name", FORMULAS)
def test_csv_has_no_formulas(name):
    found = example_evaluations.evaluation([result("b", detector=name, score=-1.5)])
    row, *_ = csv.DictReader(io.StringIO(comma_separated(found)))
    assert row["detector"].startswith("'")
    assert row["detector"][1:].strip() == name.strip()
    assert row["false_positives_n"] == "1"  # numbers stay numbers


def test_csv_leaves_other_names_alone():
    for name in ("mm-bd", "a=b", "5", "' quoted", ""):
        found = example_evaluations.evaluation([result("b", detector=name, score=-1.5)])
        row, *_ = csv.DictReader(io.StringIO(comma_separated(found)))
        assert row["detector"] == name


def test_a_terminal_gets_narrower_tables_and_no_orders():
    made = io.StringIO()
    out = Console(file=made, force_terminal=True, width=110, markup=False, highlight=False)
    show(example_evaluations.hostile(), out)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", made.getvalue())
    assert not {"\x1b", "\u202e"} & set(plain)
    assert "<script>alert(1)</script>" in plain
    assert "Brier" not in plain
    assert "false positives" in plain
    assert max(map(len, plain.splitlines())) <= 110


def test_saving_by_suffix(tmp_path):
    for suffix, start in ((".md", "### "), (".csv", "table,"), (".json", "{"), (".html", "<!doct")):
        one().save(tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").read_text().startswith(start)
    with pytest.raises(ValueError, match=r"'x\.txt'.*\.html"):
        one().save(tmp_path / "x.txt")
    assert len(list(tmp_path.iterdir())) == 4


def test_no_two_headings_are_alike():
    assert len(set(formats.HEADINGS)) == len(formats.HEADINGS)
    assert set(formats.MINOR) < set(formats.HEADINGS)
