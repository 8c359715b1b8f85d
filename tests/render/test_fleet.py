"""The index of a fleet: a page for the keyboard, tables for other programs, lines for a terminal."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from helpers import toy_fleets
from helpers.browser import Browser
from mmbd.base.errors import Failed
from mmbd.render import fleet_files, fleet_page, fleet_text
from mmbd.results.fleet import Fleet, Row
from mmbd.results.kept import Key
from mmbd.results.store import Store
from render.test_chromium import ARGUMENTS, CHROMIUM

WORDS = ("backdoored", "failed", "refused", "not evaluable", "clean")
HOSTILE = "</script><script>document.title='run'</script>\x1b[2J\u202e=cmd|' /C calc'!A0"


def row(number: int, **changes) -> Row:
    word = WORDS[0 if number % 10 == 0 else 4] if number else WORDS[0]
    codes = dict(zip(WORDS, (1, 2, 3, 3, 0), strict=True))
    usual = {
        "name": f"team/model-{number:05}.safetensors",
        "number": 1,
        "file": f"/models/model-{number}",
        "sha256": f"{number:064x}",
        "word": word,
        "code": codes[word],
        "detector": "mm-bd",
        "level": 0.05,
        "seed": 0,
        "settings": "0" * 16,
        "p_value": 1e-5 * (number + 1) if word == "backdoored" else 0.01 + number % 97 / 100,
        "targets": ("3 cat",) if word == "backdoored" else (),
        "classes": 10,
        "statistic": "maximum margin",
        "statistics": tuple(float((number * k) % 13) for k in range(10)),
        "seconds": number % 60 + 0.5,
        "finished": "2026-11-30T12:00:00+00:00",
        "group": f"g{number % 5}",
        "labels": {"team": f"t{number % 7}"},
    }
    return Row(**usual | changes)


def fleet(count: int) -> Fleet:
    rows = [row(number) for number in range(count)]
    first = replace(rows[1], number=2, sha256="f" * 64, word="clean", code=0)
    return Fleet.of([*rows, first, replace(rows[2], name=HOSTILE, reason=HOSTILE, group=HOSTILE)])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_is_used_by_the_keyboard_alone(tmp_path):
    page = tmp_path / "index.html"
    found = fleet(1000)
    page.write_text(fleet_page.html(found, "results.sqlite", {found.latest[0].page}), encoding="utf-8")
    names = "[...document.querySelectorAll('#index tbody tr .name')].map(e => e.innerText.trim())"
    told = "document.getElementById('told').innerText"
    with Browser(CHROMIUM, ARGUMENTS, tmp_path) as browser:
        browser.open(page)
        assert browser.ask("document.title") == "1,001 models (mmbd fleet)"
        assert browser.ask(told).startswith("1,001 models, ")
        assert browser.ask(names)[0] == "team/model-00000.safetensors"
        # Find: "/" leads there from anywhere; words are looked for in every column.
        browser.press("/", "t3 backdoored")
        assert browser.ask("document.activeElement.id") == "find"
        shown = browser.ask(names)
        assert shown == [f"team/model-{n:05}.safetensors" for n in range(0, 1000, 10) if n % 7 == 3]
        browser.ask("find.value = ''; find.oninput()")
        # The verdict: chosen by its first letter.
        browser.tab_to("e.id === 'only'")
        browser.press("b")
        assert browser.ask("only.selectedOptions[0].text") == "backdoored"
        assert browser.ask(told) == "100 of 1,001 models, 100 listed"
        # Sort: the headings are buttons.
        browser.tab_to("e.innerText === 'Seconds'")
        browser.press("Enter")
        first = browser.ask("document.querySelector('#index tbody tr').innerText")
        assert "\t0.5\t" in first
        assert browser.ask("document.querySelector('[aria-sort]').dataset.by") == "seconds"
        browser.press("Enter")
        assert "\t50.5\t" in browser.ask("document.querySelector('#index tbody tr').innerText")
        browser.ask("only.value = ''; only.onchange()")
        # The versions of a model are opened and closed.
        browser.press("/", "model-00001")
        browser.tab_to("e.className === 'versions'")
        browser.press("Enter")
        assert browser.ask("document.querySelectorAll('tr.earlier').length") == 1
        assert browser.ask("document.activeElement.ariaExpanded") == "true"
        browser.press("Enter")
        assert browser.ask("document.querySelectorAll('tr.earlier').length") == 0
        # A report is a link.
        browser.ask("find.value = ''; find.oninput()")
        browser.tab_to("e.tagName === 'A'")
        href = browser.ask("document.activeElement.getAttribute('href')")
        assert href == f"reports/{found.latest[0].page}.html" or href.startswith("reports/")
        # What strangers call their models is text.
        browser.press("/", "calc")
        assert len(browser.ask(names)) == 1
        assert "<script>" in browser.ask(names)[0]
        assert browser.ask("document.scripts.length") == 2
        assert browser.problems == []


def test_ten_thousand_rows_are_told_without_torch(tmp_path):
    """What the table and the page of many models take is counted in what is imported and written."""
    store = Store(tmp_path / "results.sqlite")
    rows = [row(number) for number in range(10_000)]
    store.alone(lambda held: [held.put(one.key, one.to_json()) for one in rows])
    code = (
        "import sys; from mmbd.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'scipy', 'pyarrow'} & {*sys.modules}), file=sys.stderr)"
    )
    arguments = ["fleet", "show", store.path, "--most", "20", "--out", tmp_path / "index.html"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout.splitlines()[-1] == "10,000 models: 1,000 backdoored, 9,000 clean"
    assert len(done.stdout.splitlines()) == 1 + 20 + 2
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<tr") == 1  # rows are made as they are looked at
    assert len(page) < 6_000_000


def test_tables_for_other_programs_have_a_row_a_scan(tmp_path):
    store = Store(tmp_path / "results.sqlite")
    rows = [one for history in fleet(20).history.values() for one in history]
    store.alone(lambda held: [held.put(one.key, one.to_json()) for one in rows])
    for suffix in ("csv", "jsonl", "parquet", "html"):
        fleet_files.save(store, tmp_path / f"index.{suffix}")
    heading, *lines = csv.reader(io.StringIO((tmp_path / "index.csv").read_text(encoding="utf-8")))
    assert heading == list(fleet_files.COLUMNS)
    assert len(lines) == len(rows) == 22
    names = [line[0] for line in lines]
    assert not [name for name in names if name.startswith(("=", "+", "-", "@"))]
    assert not any("\x1b" in name or "\u202e" in name for name in names)
    texts = (tmp_path / "index.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Row.from_json(text) for text in texts] == rows
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "index.parquet")
    assert table.num_rows == 22
    assert table.column("verdict").to_pylist() == [one.word for one in rows]
    assert table.column("p_value").to_pylist() == [one.p_value for one in rows]
    assert json.loads(table.column("labels")[0].as_py()) == dict(rows[0].labels)


def test_a_folder_has_the_report_of_every_result_drawn_once(tmp_path):
    store = Store(tmp_path / "results.sqlite")
    toy_fleets.ran(toy_fleets.models(tmp_path / "fleet", "clean a", "backdoored"), store)
    store.put(Key("../../../../escape", "", "mm-bd", 1), "{}")
    site = tmp_path / "site"
    site.mkdir()
    fleet_files.site(store, site)
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reports").iterdir()}
    assert sorted(pages) == sorted(one.page for one in Fleet.read(store).latest)
    assert sum('<h1 id="verdict">Backdoored</h1>' in page for page in pages.values()) == 1
    index = (site / "index.html").read_text(encoding="utf-8")
    assert all(f'"page":"{page}"' in index for page in pages)
    (one := site / "reports" / f"{next(iter(pages))}.html").write_text("drawn before")
    fleet_files.site(store, site)
    assert one.read_text() == "drawn before"


def test_lines_for_a_terminal_are_clean_and_begin_with_what_matters():
    rows = fleet_text.in_order(fleet(30).latest)
    assert [one.word for one in rows[:3]] == ["backdoored"] * 3
    assert rows[0].p_value <= rows[1].p_value
    lines = [*map(fleet_text.line, rows), *fleet_text.table(rows, fleet(30).versions)]
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert fleet_text.totals(rows[:1]) == "1 model: 1 backdoored"


def test_a_store_that_is_damaged_is_told(tmp_path):
    (tmp_path / "results.sqlite").write_bytes(b"no database at all, and long enough to be looked at" * 50)
    with pytest.raises(Failed, match="cannot be read"):
        fleet_files.save(Store(tmp_path / "results.sqlite"), tmp_path / "index.csv")
