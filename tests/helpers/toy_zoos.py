"""Tiny zoos whose models say themselves how suspicious they are, and detectors that listen."""

from __future__ import annotations

import csv
import hashlib
import os
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.detectors.detector import About, Detector
from mmbd.evaluation.tables import Result
from mmbd.formats.spec import Spec, save
from mmbd.model.classifier import Classifier
from mmbd.model.info import describe
from mmbd.results.finding import Finding, Test
from mmbd.results.report import Report, Run
from mmbd.zoo import Entry, Zoo, cards

CLASSES = 6
KINDS = frozenset({"image", "vector"})


class Tagged(nn.Module):
    """A linear classifier with a p-value and a target written into it."""

    def __init__(self, p_value: float, target: int) -> None:
        super().__init__()
        self.register_buffer("p_value", torch.tensor(p_value, dtype=torch.float64))
        self.register_buffer("target", torch.tensor(target))
        self.linear = nn.Linear(4, CLASSES)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(4 * CLASSES).reshape(CLASSES, 4) / 7)
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x)


def tagged(p_value: float, target: int = 0) -> Classifier:
    return Classifier(Tagged(p_value, target), input_shape=(4,))


def broken() -> Classifier:
    raise Failed("no weights in here")


def entry(name: str, p_value: float, named: int = 0, **truth) -> Entry:
    """A model on which `listens` will report this p-value and this class."""
    truth.setdefault("label", "clean")
    return Entry(name, open=partial(tagged, p_value, named), **truth)


def backdoored(name: str, p_value: float, named: int, *targets: int, **truth) -> Entry:
    truth.setdefault("attack", "badnet")
    return entry(name, p_value, named, label="backdoored", targets=targets, **truth)


def small(**changes) -> Zoo:
    """Two attacks and clean models, six in all, with seeds 0 to 5."""
    entries = (
        backdoored("b0", 0.001, 2, 2, seed=0, group="one"),
        backdoored("b1", 0.01, 3, 2, seed=1, group="one"),  # a wrong class
        backdoored("b2", 0.3, 4, 4, attack="blend", seed=2, group="two"),
        entry("c0", 0.6, seed=3, group="one"),
        entry("c1", 0.04, seed=4, group="two"),
        entry("c2", 0.9, seed=5, group="two", attack="imbalance"),
    )
    return Zoo(**{"entries": entries} | changes)


def listens(classifier: Classifier, samples=None, *, level, seed, progress=None, folder=None) -> Finding:
    """Says what the model says about itself; leaves a mark in `folder` for every call."""
    if folder is not None:
        Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
    p_value = float(classifier.model.p_value)
    target = (int(classifier.model.target),)
    return Finding(
        verdict="backdoored" if p_value <= level else "clean",
        targets=target if p_value <= level else (),
        ranking=target,
        score=-float(torch.tensor(p_value, dtype=torch.float64).log10()),
        decided_by="own words",
        tests=(Test("own words", p_value=p_value),),
    )


def shrugs(classifier: Classifier, samples=None, **_) -> Finding:
    return Finding("not evaluable", reason="cannot tell")


def dawdles(classifier: Classifier, samples=None, **_) -> Finding:
    time.sleep(600)
    return shrugs(classifier)


def cannot(classifier: Classifier, samples=None, **_) -> Finding:
    raise NotEvaluable("too few classes")


def fails(classifier: Classifier, samples=None, *, level, seed, progress=None) -> Finding:
    if float(classifier.model.p_value) < 0.05:
        raise RuntimeError("a bug")
    return listens(classifier, level=level, seed=seed)


def dies(classifier: Classifier, samples=None, *, level, seed, progress=None) -> Finding:
    """Takes its process with it on the most suspicious model."""
    if float(classifier.model.p_value) == 0.001:
        os.kill(os.getpid(), 9)
    return listens(classifier, level=level, seed=seed)


def scores_only(classifier: Classifier, samples=None, *, level, seed, progress=None) -> Finding:
    found = listens(classifier, level=level, seed=seed)
    return Finding(found.verdict, score=found.score)


def counts(classifier: Classifier, samples=None, *, level, seed, progress=None) -> Finding:
    """Needs samples, and says how many of each class it got."""
    return Finding("clean", score=0.0, facts={"counts": str(samples.labels.bincount().tolist())})


def row(find=listens, **changes) -> Detector:
    """A detector's row around one of these functions."""
    about = About(title=getattr(find, "__name__", "detector"))
    return Detector(**{"find": find, "version": 1, "about": about, "kinds": KINDS} | changes)


def report(
    flagged: bool | None = False, named=(), score=None, p_value=None, seconds=1.0, classes=10, **parts
) -> Report:
    """A report without a model behind it."""
    verdict = {None: "not evaluable", True: "backdoored", False: "clean"}[flagged]
    finding = Finding(
        verdict,
        targets=tuple(named) if flagged else (),
        ranking=tuple(named),
        score=score,
        decided_by="test",
        tests=(Test("test", p_value=p_value),),
        reason="cannot tell" if flagged is None else None,
        **parts,
    )
    run = Run(0, "2026-01-01T00:00:00+00:00", seconds, "cpu", {})
    return Report("d", 1, 0.05, tuple(map(str, range(classes))), finding, describe(tagged(0.5)), run)


def result(
    model: str,
    *,
    backdoored: bool = False,
    attack: str | None = None,
    targets=(),
    detector="d",
    group="",
    opened=True,
    error=None,
    **said,
) -> Result:
    """A result without a model behind it."""
    return Result(
        model=model,
        backdoored=backdoored,
        attack=attack or ("badnet" if backdoored else "clean"),
        true_targets=tuple(targets),
        group=group,
        seed=None,
        detector=detector,
        report=report(**said) if opened else None,
        error=error,
        opened=opened,
    )


def planted(path: Path, *, gain: float, classes: int = 8, seed: int = 0) -> Path:
    """A perceptron file whose class 2 is far ahead somewhere if `gain` is large."""
    torch.manual_seed(seed)
    spec = Spec("mlp", (1, 4, 4), classes, {"hidden": (16,)})
    network = spec.network()
    first, last = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for linear in (first, last):
            linear.weight.zero_()
            linear.bias.zero_()
        for label in range(classes):
            last.weight[label, label] = 1.0
            first.weight[label, label] = 10.0 + 0.1 * label + 0.01 * seed
        last.weight[2, 2] = gain
    save(path, network, spec)
    return path


def own(folder: Path) -> Path:
    """A zoo as `mmbd zoo make` leaves one: two models of either label, seeds 0 and 1."""
    for seed in (0, 1):
        for label, gain in (("clean", 1.0), ("backdoored", 20.0)):
            name, bad = f"{label}-{seed}", label == "backdoored"
            file = planted(folder / f"{name}.safetensors", gain=gain, seed=seed)
            cards.write(
                folder,
                {
                    "card": cards.VERSION,
                    "name": name,
                    "file": file.name,
                    "label": label,
                    "data": "squares",
                    "arch": "mlp",
                    "attack": "badnet" if bad else "clean",
                    "seed": seed,
                    "sources": [],
                    "targets": [2] if bad else [],
                    "accuracy": 0.9,
                    "asr": 0.99 if bad else None,
                    "settings": {},
                    "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                },
            )
    return folder


def table(folder: Path, *, clean: int = 2, backdoored: int = 2, junk: bool = False) -> Path:
    """A zoo on disk: model files and a table of them, one of them no model at all if `junk`."""
    rows = []
    for index in range(backdoored):
        file = planted(folder / f"bad{index}.safetensors", gain=20.0, seed=index)
        rows.append({"path": file.name, "label": "backdoored", "target": 2, "attack": "badnet"})
    for index in range(clean):
        file = planted(folder / f"good{index}.safetensors", gain=1.0, seed=index)
        rows.append({"path": file.name, "label": "clean", "target": "", "attack": "clean"})
    if junk:
        (folder / "junk.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
        rows.insert(1, {"path": "junk.safetensors", "label": "clean", "target": "", "attack": "clean"})
    path = folder / "zoo.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "target", "attack"])
        writer.writeheader()
        writer.writerows(rows)
    return path
