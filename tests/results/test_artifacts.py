"""Tensors beside a report: written, found again, and refused where they are not the report's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmbd.base.errors import Failed
from mmbd.model.info import unread
from mmbd.results import artifacts
from mmbd.results.finding import Artifact, Column, Finding
from mmbd.results.report import Report


def report() -> Report:
    generator = torch.Generator().manual_seed(0)
    seen = (
        Artifact("trigger mask", 1, torch.rand(4, 4, generator=generator)),
        Artifact("trigger pattern", 1, torch.rand(3, 4, 4, generator=generator)),
        Artifact("triggered sample", None, torch.rand(1, 16, generator=generator)),
    )
    columns = (Column("mask norm", (9.0, 1.0), "pixels", "low"),)
    finding = Finding("clean", ranking=(1, 0), columns=columns, artifacts=seen)
    return Report("masks", 1, 0.05, ("a", "b"), finding, unread("model.pt"))


def written(folder: Path) -> Path:
    place, made = folder / "one.json", report()
    place.write_text(made.to_json(artifacts.write(place, made.finding.artifacts)), encoding="utf-8")
    return place


def test_artifacts_come_back_as_they_were(tmp_path):
    place = written(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.artifacts.safetensors", "one.json"]
    again = Report.load(place)
    assert again == report()
    for found, given in zip(again.finding.artifacts, report().finding.artifacts, strict=True):
        assert (found.kind, found.label) == (given.kind, given.label)
        assert torch.equal(found.tensor, given.tensor)


def test_a_report_without_its_artifacts_is_a_report(tmp_path):
    place = written(tmp_path)
    (tmp_path / "one.artifacts.safetensors").unlink()
    assert Report.load(place).finding.artifacts == ()
    assert Report.from_json(place.read_text(encoding="utf-8")).finding.artifacts == ()
    plain = tmp_path / "plain.json"
    plain.write_text(report().to_json(), encoding="utf-8")
    assert Report.load(plain) == report()


def test_other_pictures_are_not_shown(tmp_path):
    place = written(tmp_path)
    beside = tmp_path / "one.artifacts.safetensors"
    data = bytearray(beside.read_bytes())
    data[-1] ^= 1
    beside.write_bytes(data)
    assert Report.load(place).finding.artifacts == ()
    assert Report.load(place) == report()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../one.artifacts.safetensors", "no name of a file beside it"),
        ("model.safetensors", "no name of a file beside it"),
        ("/etc/passwd", "no name of a file beside it"),
    ],
)
def test_only_files_beside_the_report_are_opened(name, words, tmp_path):
    place = written(tmp_path)
    raw = json.loads(place.read_text(encoding="utf-8"))
    raw["artifacts"]["file"] = name
    place.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(Failed, match=words):
        Report.load(place)


def test_a_tensor_that_is_not_there(tmp_path):
    place = written(tmp_path)
    raw = json.loads(place.read_text(encoding="utf-8"))
    raw["artifacts"]["entries"][0]["name"] = "another"
    place.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(Failed, match="there is no tensor"):
        Report.load(place)


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    place = tmp_path / "one.json"
    broken = Artifact("trigger mask", None, torch.full((2, 2), torch.nan))
    place.write_text(report().to_json(artifacts.write(place, [broken])), encoding="utf-8")
    assert Report.load(place).finding.artifacts == ()
    kept = report().finding.artifacts[0]
    place.write_text(report().to_json(artifacts.write(place, [broken, kept])), encoding="utf-8")
    (found,) = Report.load(place).finding.artifacts
    assert torch.equal(found.tensor, kept.tensor)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float64, torch.float16])
def test_masks_of_any_type_of_number_come_back(dtype, tmp_path):
    mask = (torch.eye(4) * 3).to(dtype)
    place = tmp_path / "one.json"
    place.write_text(report().to_json(artifacts.write(place, [Artifact("trigger mask", 1, mask)])))
    (found,) = Report.load(place).finding.artifacts
    assert torch.equal(found.tensor, mask.float())


def test_nothing_is_written_where_there_is_nothing_to_see(tmp_path):
    assert artifacts.write(tmp_path / "one.json", ()) is None
    assert not list(tmp_path.iterdir())
