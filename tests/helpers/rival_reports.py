"""Reports of detectors other than MM-BD, most of which no row here describes."""

from __future__ import annotations

import random

import torch

from helpers.report_parts import CIFAR, curve, image, model, p_value, report
from mmbd.results.finding import Artifact, Column, Finding, Matrix, Test
from mmbd.results.report import Report, Stability

NORMS = (96.2, 88.1, 101.5, 12.25, 93.0, 110.0, 87.4, 99.9, 95.1, 91.7)
INDEX = (0.1, 0.72, 0.55, 8.4, 0.2, 1.4, 0.8, 0.41, 0.02, 0.33)


def neural_cleanse() -> Report:
    """Low is suspicious, a threshold decides, three kinds of pictures a class."""
    kinds = ("trigger mask", "trigger pattern", "triggered sample")
    finding = Finding(
        "backdoored",
        targets=(3,),
        ranking=tuple(sorted(range(10), key=lambda label: NORMS[label])),
        score=8.4,
        decided_by="MAD",
        tests=(Test("MAD", statistic=8.4, threshold=2.0, parameters={"median": 94.05}),),
        columns=(Column("mask norm", NORMS, "pixels", "low"), Column("anomaly index", INDEX)),
        artifacts=tuple(
            Artifact(kind, label, image(label + 10 * number)[:1] if "mask" in kind else image(label))
            for label in range(10)
            for number, kind in enumerate(kinds)
        ),
        traces={label: curve(-NORMS[label]) for label in range(10)},
        caveats=("Large triggers are not found.",),
        settings={
            "steps": 1000,
            "learning_rate": 0.1,
            "early_stop": True,
            "optimiser": {"betas": [0.5, 0.9]},
        },
        facts={"evaluations": 640_000, "samples_used": 100, "per_class": 10},
    )
    return report(finding, detector="small-masks", version=2)


def no_outlier() -> Report:
    """The same detector finds nothing; with several seeds, of which one ranked nothing."""
    finding = Finding(
        "clean",
        ranking=(6, 1, 3, 9, 4, 8, 0, 7, 2, 5),
        score=1.4,
        decided_by="MAD",
        tests=(Test("MAD", statistic=1.4, threshold=2.0), Test("other", reason="too few classes")),
        columns=(Column("mask norm", (*NORMS[:3], 90.5, *NORMS[4:]), "pixels", "low"),),
        facts={"samples_used": 100},
    )
    repeats = Stability((0, 1, 2), (3, None, 3), (None, None, None), decides=0)
    return report(finding, detector="small-masks", stability=repeats)


def pairs() -> Report:
    """A number a pair of source and target class; without one a class."""
    draw = random.Random(0)
    values = [
        [None if row == column else draw.uniform(0.0, 0.4) for column in range(10)] for row in range(10)
    ]
    values[2][3] = 0.96
    low = tuple(tuple(None if value is None else 1 - value for value in row) for row in values)
    finding = Finding(
        "backdoored",
        targets=(3,),
        ranking=(3, 0, 1, 2, 4, 5, 6, 7, 8, 9),
        decided_by="order statistic",
        tests=(p_value("order statistic", 0.0004),),
        matrices=(
            Matrix("transfer rate", tuple(map(tuple, values))),
            Matrix("distance", low, "pixels", "low"),
        ),
        artifacts=(Artifact("trigger pattern", 3, image(3)), Artifact("universal pattern", None, image(4))),
    )
    return report(finding, detector="class-pairs")


def many_pairs() -> Report:
    """More classes than a heat map draws, most of them without a number."""
    count = 60
    values = [
        [None if row == column or row % 3 else float(row) for column in range(count)] for row in range(count)
    ]
    finding = Finding("clean", matrices=(Matrix("cost", tuple(map(tuple, values)), "", ""),))
    return report(finding, detector="class-pairs", class_names=tuple(map(str, range(count))))


def no_class() -> Report:
    """The model is flagged as a whole: no class is named, and none has a number."""
    finding = Finding(
        "backdoored",
        score=0.93,
        decided_by="meta-classifier",
        tests=(Test("meta-classifier", statistic=0.93, threshold=0.5),),
        artifacts=(Artifact("query", None, image(1)), Artifact("query", None, image(2))),
        settings={"queries": 10, "shadow models": {"count": 256, "architecture": "resnet8"}},
    )
    return report(finding, detector="whole-model")


def one_mark() -> Report:
    """A threshold on the statistic itself, and clouds with a mask a point."""
    values = (0.31, 0.12, 0.22, 0.97, 0.18, 0.4, 0.25, 0.11, 0.37, 0.29)
    generator = torch.Generator().manual_seed(0)
    finding = Finding(
        "backdoored",
        targets=(3,),
        decided_by="REASR",
        tests=(Test("REASR", statistic=0.97, threshold=0.8),),
        columns=(Column("REASR", values),),
        artifacts=tuple(
            Artifact(kind, 3, torch.rand(shape, generator=generator))
            for kind, shape in (("triggered sample", (3, 256)), ("trigger mask", (256,)))
        ),
    )
    made = model(input_shape=(3, 256), bounds=(-1.0, 1.0), domain="Points(256)", mean=None, std=None)
    return report(finding, detector="one-neuron", model=made)


def many_columns() -> Report:
    """More columns than a terminal shows, with long names, no unit and neither direction."""
    columns = [
        Column(f"the {name} of what was measured, at some length", NORMS, suspicious="") for name in CIFAR
    ]
    finding = Finding("clean", columns=(Column("neurons", INDEX, "", ""), *columns))
    return report(finding, detector="somebody's own row")


ALL = (neural_cleanse, no_outlier, pairs, many_pairs, no_class, one_mark, many_columns)
