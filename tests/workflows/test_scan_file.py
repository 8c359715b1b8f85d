"""A file to a report: who is blamed for what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers.planted_files import planted
from mmbd.detectors import About, Detector
from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions
from mmbd.search.ascent import Ascent
from mmbd.workflows import scan_file as gate


class Moody(nn.Module):
    """Works while it is loaded, and raises ValueError when it is scanned."""

    works = True

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.works:
            raise ValueError("not today")
        return self.linear(x.flatten(1))


def asks(act: Callable[[], object]) -> ScanOptions:
    """A detector of one's own, which does this and has no finding."""

    def find(classifier, samples, *, level, seed, progress, **options):
        act()
        raise AssertionError("not reached")

    return ScanOptions(Detector(find, 1, About("fussy")))


def complain() -> None:
    raise ValueError("too few")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (complain, "the detector fussy raised ValueError: too few"),
        (lambda: Ascent(1, 1, "l2", "0.1"), "the detector fussy raised TypeError: "),
    ],
)
def test_a_detector_that_complains_is_named(tmp_path, act, said):
    path = planted(tmp_path / "m.safetensors", gain=1.0)
    outcome = gate.scan_file(path, LoadOptions(), asks(act))
    assert outcome.code == gate.FAILED
    assert outcome.report.reason.startswith(f"failed: {said}")
    # Reference models are measured by MM-BD, whichever detector wants them.
    assert gate.references([path], LoadOptions(), asks(act)).statistics


def test_a_model_that_raises_is_named_though_it_raises_what_detectors_do(tmp_path, monkeypatch):
    torch.save(Moody().state_dict(), tmp_path / "m.pt")
    scanning = ScanOptions(options={"steps": 2, "universal": False})
    outcome = gate.scan_file(
        tmp_path / "m.pt",
        LoadOptions(arch=Moody, input_shape=(1, 4, 4)),
        scanning,
        samples=lambda _: monkeypatch.setattr(Moody, "works", False),  # once it is loaded
    )
    assert outcome.code == gate.FAILED
    assert outcome.report.reason == "failed: the model raised ValueError: not today"
