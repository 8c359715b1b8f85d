"""Manifests of fleets: what they say, and that everything wrong in one is told before anything is scanned."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions
from mmbd.workflows.fleet import fleet, manifest

WHOLE = """
[defaults]
data = "clean"
labels = { team = "vision", tier = 1 }
group = "cifar"
references = "group"
input = "3x32x32"

[[model]]
path = "a.pt"

[[model]]
path = "b.pt"
name = "b"
arch = "net.py:make"
arch_args = { width = 8 }
bounds = [-1, 1]
mean = [0.5, 0.4, 0.3]
std = 0.2
classes = 10
class_names = ["cat", "dog"]
detector = "mm-bd-bootstrap"
options = { restarts = 2 }
level = 0.01
seed = 3
per_class = 5
references = ["a.pt"]
labels = { tier = 2 }
policy = "mmbd.toml"
"""


def read(folder: Path, text: str):
    for name in ("a.pt", "b.pt", "net.py", "mmbd.toml", "clean/0/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    file = folder / "fleet.toml"
    file.write_text(text)
    return manifest.read(file, LoadOptions(max_bytes=7), ScanOptions())


def test_a_manifest_says_of_every_model_what_its_file_does_not(tmp_path):
    first, second = read(tmp_path, WHOLE)
    assert (first.name, first.path, first.group, first.leave_one_out) == (
        "a.pt",
        tmp_path / "a.pt",
        "cifar",
        True,
    )
    assert first.loading == LoadOptions(input_shape=(3, 32, 32), max_bytes=7)
    assert (first.data, first.labels) == (tmp_path / "clean", {"team": "vision", "tier": 1})
    assert second.loading == LoadOptions(
        arch=f"{tmp_path / 'net.py'}:make",
        arch_args={"width": 8},
        input_shape=(3, 32, 32),
        bounds=(-1.0, 1.0),
        mean=(0.5, 0.4, 0.3),
        std=0.2,
        classes=10,
        class_names=("cat", "dog"),
        max_bytes=7,
    )
    how = ScanOptions("mm-bd-bootstrap", 0.01, 3, options={"restarts": 2})
    assert (second.name, second.scanning, second.per_class) == ("b", how, 5)
    assert (second.references, second.leave_one_out) == ((tmp_path / "a.pt",), False)
    assert (second.labels, second.policy) == ({"team": "vision", "tier": 2}, str(tmp_path / "mmbd.toml"))


ONE = '[[model]]\npath = "a.pt"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no models"),
        ("model = 3", "no models"),
        ("[[models]]", "unknown field 'models'; did you mean 'model'"),
        (ONE + "achr = 'x'", "model 1 (a.pt): unknown field 'achr'; did you mean 'arch'"),
        ("[defaults]\nlevle = 0.1\n" + ONE, "[defaults]: unknown field 'levle'; did you mean 'level'"),
        ("[defaults]\npath = 'x'\n" + ONE, "unknown field 'path'"),
        ("[[model]]\nname = 'x'", "model 1 (x): the path is missing"),
        ("[[model]]\npath = 'none.pt'", "path: there is no"),
        (ONE + "data = 'nowhere'", "data: there is no"),
        (ONE + "references = ['c.json']", "references: there is no"),
        (ONE + "policy = 'p.toml'", "policy: there is no"),
        (ONE + "arch = 'none.py:f'", "arch: there is no"),
        (ONE + ONE, "model 2 (a.pt): an earlier model is called 'a.pt'"),
        (ONE + ONE + "name = 'again'", "model 2 (again): the same file with the same settings as 'a.pt'"),
        (ONE + "references = 'group'", "needs a group"),
        (ONE + "level = 2", "level must be between 0 and 1"),
        (ONE + "level = nan", "level: expected a number"),
        (ONE + "seeds = 0", "seeds: expected a whole number, got 0"),
        (ONE + "bounds = [1, 0]", "the lower one first"),
        (ONE + "input = '3x?'", "input: expected lengths"),
        (ONE + "input = [[3]]", "input: expected lengths"),
        (ONE + "as_claimed = 1", "as_claimed: expected true or false, got 1"),
        (ONE + "detector = 'mm-db'", "unknown detector 'mm-db'; did you mean 'mm-bd'"),
        (ONE + "options = { restart = 2 }", "unknown option 'restart'; did you mean 'restarts'"),
        (ONE + "detector = 'neural-cleanse'", "needs clean samples"),
        (ONE + "labels = { a = [1] }", "labels: expected a table of texts"),
        (ONE + "path = 'b.pt'", "Cannot overwrite a value"),
        ("a = " + "[" * 2000, "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_told_in_one_line(tmp_path, text, words):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        read(tmp_path, text)
    told = str(raised.value)
    assert words in told
    assert "\n" not in told
    assert told.startswith(str(tmp_path / "fleet.toml"))


@pytest.mark.parametrize("what", ["nothing", "file.txt", "empty"])
def test_what_is_no_fleet_is_told(tmp_path, what):
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no such folder|ends in \.toml|no file below it"):
        fleet.entries(tmp_path / what, LoadOptions(), ScanOptions())


def test_one_file_may_be_scanned_in_two_ways(tmp_path):
    found = read(tmp_path, ONE + "[[model]]\npath = 'a.pt'\nname = 'other'\nseed = 1")
    assert [entry.name for entry in found] == ["a.pt", "other"]
