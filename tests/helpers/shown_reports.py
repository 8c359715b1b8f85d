"""Reports that show the perturbation that decides: of images, sounds, clouds and vectors."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from helpers.report_parts import CIFAR, CLEAN_STATISTICS, image, model, report
from mmbd.model.info import ModelInfo
from mmbd.results.examples import examples_of
from mmbd.results.finding import Artifact, Column, Finding, Test
from mmbd.results.report import Report
from mmbd.results.shown import Shown

CLASSES = ((0, 3), (5, 3), (9, 3))
SOUND = model(input_shape=(1, 4000), bounds=(-1.0, 1.0), domain="Box((1, 4000))", mean=None, std=None)
CLOUD = model(input_shape=(3, 64), bounds=(-1.0, 1.0), domain="Points(64)", mean=None, std=None)
VECTOR = model(input_shape=(12,), bounds=(-3.0, 3.0), domain="Box((12,))", mean=None, std=None)


def showing(shown: Shown, before: Tensor, after: Tensor, of: ModelInfo, *more: Artifact) -> Report:
    """A report on ten classes that shows these inputs."""
    finding = Finding(
        "backdoored",
        targets=() if shown.target is None else (shown.target,),
        ranking=(3, 0),
        decided_by="one class",
        tests=(Test("one class", 0.9, threshold=0.5),),
        columns=(Column("lift", CLEAN_STATISTICS, "logits"),),
        artifacts=(*examples_of(before, after, shown.examples), *more),
        shown=shown,
    )
    return report(finding, detector="local-patch", model=of)


def window() -> Report:
    """A square of 5 x 5 pixels, and maximising inputs besides."""
    before = torch.stack([image(label) for label in range(3)])
    after = before.clone()
    after[:, :, 24:29, 26:31] = 1.0
    where = "rows 24 to 28, columns 26 to 30"
    shown = Shown("window", 3, 17, 20, places=25, where=where, examples=CLASSES)
    return showing(shown, before, after, model(), Artifact("maximising input", 3, image(7)))


def added() -> Report:
    """A faint pattern everywhere, each class to its own; nothing is flagged."""
    before = torch.stack([image(label) for label in range(3)])
    pattern = 0.05 * (torch.arange(32) % 2 * 2 - 1.0)
    shown = Shown("added", None, 1, 20, examples=((0, 1), (5, 5), (9, 9)))
    made = showing(shown, before, (before + pattern).clamp(0, 1), model())
    return made.revised(verdict="clean", targets=())


def stretch() -> Report:
    """Forty samples of sounds that last half a second."""
    time = torch.arange(4000) / 8000
    before = torch.stack([torch.sin(time * 2000 * (number + 1))[None] / 2 for number in range(3)])
    after = before.clone()
    after[:, :, 1000:1040] = 1.0
    shown = Shown("window", 3, 17, 20, places=40, where="samples 1000 to 1039", examples=CLASSES)
    return showing(shown, before, after, SOUND)


def ball() -> Report:
    """Eight of 64 points that go to one place."""
    before = torch.rand(3, 3, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    after = before.clone()
    after[:, :, 10:18] = 0.9
    shown = Shown("window", 3, 17, 20, places=8, where="a ball around (0.9, 0.9, 0.9)", examples=CLASSES)
    return showing(shown, before, after, CLOUD)


def few_values() -> Report:
    """One value of a vector."""
    before = torch.rand(1, 12, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, 4] = 3.0
    return showing(Shown("sparse", 3, 1, 1, places=1, examples=CLASSES[:1]), before, after, VECTOR)


def hostile(names: tuple[str, ...]) -> Report:
    """Every name and text is an attack."""
    made = stretch().revised(shown=Shown("window", 3, 1, 2, 3, where=" ".join(names[:8]), examples=CLASSES))
    return replace(made, class_names=names[: len(CIFAR)])


ALL = (window, added, stretch, ball, few_values)
