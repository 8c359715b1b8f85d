"""Reports of every kind that a renderer has to cope with, made by hand; no model is scanned."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache

import torch

from helpers import rival_reports, ruled_reports, shown_reports
from helpers.report_parts import (
    CAVEATS,
    CIFAR,
    CLEAN_STATISTICS,
    curve,
    facts,
    image,
    inputs,
    margins,
    mm_bd,
    model,
    p_value,
    p_values,
    ranked,
    report,
    run,
    settings,
)
from mmbd.results.finding import Column, Finding, Test
from mmbd.results.report import Report, Stability

__all__ = ["CAVEATS", "CIFAR", "model", "p_value", "p_values"]

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "[red]rich[/red] [link=file:///etc/passwd]markup[/link]",
    "esc\x1b[31mape\x1b]0;title\x07",
    "two\nlines\r\tand\x85tabs",
    "bidi\u202eevil\u2066\u200b",
    "{{ 7 * 7 }} {% raw %} {0}",
    "Z" + "\u0334" * 500,
    "&amp; ' \\ ‮ \ud800 " + "long " * 500,
)
FOUND = (*CLEAN_STATISTICS[:3], 41.7, *CLEAN_STATISTICS[4:])


def clean() -> Report:
    finding = mm_bd(
        CLEAN_STATISTICS,
        p_values(0.41, paper=0.31),
        artifacts=inputs({label: image(label) for label in range(10)}),
    )
    return report(finding, model=model(name="clean.safetensors", file="models/clean.safetensors"))


def backdoored() -> Report:
    finding = mm_bd(
        FOUND,
        p_values(0.0021),
        verdict="backdoored",
        targets=(3,),
        artifacts=inputs({label: image(label) for label in range(10)}),
    )
    repeats = Stability((0, 1, 2, 3, 4), (3, 3, 3, 3, 6), (0.0021, 0.0034, 0.0019, 0.004, 0.2))
    return report(finding, stability=repeats)


def universal() -> Report:
    """With universal-perturbation gains; one of them is not there."""
    gains = (2.0, 1.5, 1.75, 9.1, None, 0.5, 3.0, 2.5, 1.25, 0.25)
    return backdoored().revised(
        decided_by="joint",
        tests=(p_value("joint", 0.0021, statistic=2.1, usual=0.2), *p_values(0.03)),
        columns=(margins(FOUND), Column("universal-perturbation gain", gains, "logits")),
        settings=settings({"inputs": 10, "steps": 8}),
    )


def by_evidence() -> Report:
    """Class 7 has the largest product of margin and gain, not the largest margin; class 8 has none."""
    evidence = (*(float(label) for label in range(7)), 90.0, None, 8.0)
    made = universal()
    return made.revised(
        columns=(*made.finding.columns, Column("margin times gain", evidence)),
        ranked_by="margin times gain",
        ranking=(7, 9, 6, 5, 4, 3, 2, 1, 0, 8),
    )


def two_targets() -> Report:
    statistics = (*FOUND[:9], 38.4)
    finding = backdoored().finding
    traces = {label: curve(value or 0.0) for label, value in enumerate(statistics)}
    return report(
        replace(
            finding, targets=(3, 9), columns=(margins(statistics),), ranking=ranked(statistics), traces=traces
        )
    )


def reference() -> Report:
    """All-to-all: found with reference models only."""
    by_class = (0.21, 0.0099, 0.0099, 0.0099, 0.0198, 0.5, 0.0099, 0.0099, 0.0099, 0.0297)
    finding = replace(
        backdoored().finding,
        targets=(6, 1, 2, 3, 7, 8),
        decided_by="reference",
        tests=(p_value("reference", 0.0099, references=100.0), p_value("population", 0.62)),
        columns=(margins(FOUND), Column("p-value", by_class, suspicious="low")),
    )
    return report(finding)


IN_MEMORY = {"file": None, "sha256": None, "bytes": None, "format": None, "parameters": None}
UNKNOWN = {"mean": None, "std": None, "bounds": None}


def not_evaluable() -> Report:
    """Refused before a search was run."""
    finding = Finding("not evaluable", reason="the outputs are probabilities (they sum to 1), not logits")
    made = model(**IN_MEMORY, **UNKNOWN, name="Sequential")
    return report(finding, class_names=(), model=made, run=None)


def refused() -> Report:
    """A file that was not loaded: nothing is known but its name."""
    reason = "refused: the file holds a program; globals: os.system, builtins.eval"
    nothing = IN_MEMORY | UNKNOWN | {"architecture": "", "domain": "", "input_shape": ()}
    made = model(**nothing | {"name": "model.pt", "file": "in/model.pt"})
    return report(Finding("not evaluable", reason=reason), class_names=(), model=made, run=None)


def few_classes() -> Report:
    """Not evaluable after a search: too few classes, one of them dead."""
    finding = mm_bd(
        (12.5, None, -3.25),
        [Test("paper", reason="2 statistics are too few for a Gamma fit")],
        verdict="not evaluable",
        reason="3 classes are too few for a null; give reference models",
        decided_by=None,
        facts=facts(zero_gradient=4, oom_retries=2),
        traces={0: curve(12.5), 2: (-3.25,)},
        artifacts=inputs({0: image(0), 2: image(2)}),
    )
    return report(finding, class_names=("0", "1", "2"))


@cache
def thousand(classes: int = 1000) -> Report:
    draw = random.Random(1)
    statistics = [draw.gammavariate(30, 0.5) for _ in range(classes)]
    statistics[417] = 52.25
    order = ranked(statistics)
    finding = mm_bd(
        statistics,
        [*p_values(0.0021)[:2], p_value("paper", 7e-9, shape=30.0, loc=0.0, scale=0.5, exponent=999.0)],
        verdict="backdoored",
        targets=(417,),
        traces={label: curve(statistics[label], 40) for label in range(classes)},
        artifacts=inputs({label: image(label, (3, 224, 224)) for label in order[:40]}),
        facts=facts(evaluations=61_240, searches=4000, batch=64, converged=211),
    )
    made = model(
        architecture="resnet50",
        input_shape=(3, 224, 224),
        parameters=25_557_032,
        domain="Box((3, 224, 224), low=0, high=1)",
        name="resnet50.safetensors",
        bytes=102_000_000,
    )
    names = tuple(f"n{label:08d} some ImageNet category" for label in range(classes))
    return report(finding, class_names=names, model=made, run=run(seconds=3940.0))


def sounds() -> Report:
    time = torch.arange(8000) / 8000
    waves = {
        label: (torch.sin(time * 60 * (label + 1)) * torch.sin(time * 3.14))[None] for label in range(10)
    }
    made = model(
        architecture="m5",
        name="digits-m5.safetensors",
        input_shape=(1, 8000),
        bounds=(-1.0, 1.0),
        domain="Box((1, 8000), low=-1, high=1)",
        mean=None,
        std=None,
    )
    return replace(backdoored().revised(artifacts=inputs(waves)), model=made)


def vectors(length: int = 13) -> Report:
    drawn = {
        label: 6 * torch.rand(length, generator=torch.Generator().manual_seed(label)) - 3
        for label in range(10)
    }
    made = model(
        architecture="mlp",
        name="wine.safetensors",
        input_shape=(length,),
        bounds=(-3.0, 3.0),
        domain=f"Box(({length},), low=-3, high=3)",
        mean=None,
        std=None,
    )
    return replace(backdoored().revised(artifacts=inputs(drawn)), model=made)


def odd_inputs() -> Report:
    """Shapes without a picture, extreme shapes, and values that are not finite."""
    odd = {
        0: torch.rand(5, 8, 8),
        1: torch.rand(2, 3, 4, 5),
        2: torch.tensor(0.5),
        3: torch.full((3, 32, 32), torch.nan),
        4: torch.rand(1, 28, 28),
        5: torch.zeros(1, 1),
        6: torch.full((7,), torch.inf),
        7: torch.rand(3, 1, 4000),
        8: torch.zeros(0),
    }
    return replace(backdoored().revised(artifacts=inputs(odd)), model=model(bounds=None))


def hostile() -> Report:
    """Every text in the report is an attack."""
    nasty = " ".join(HOSTILE[:8])
    finding = replace(
        backdoored().finding,
        decided_by=nasty,
        tests=(
            Test(nasty, p_value=0.001, log10=-3.0, parameters={nasty: 1.0, "shape": -1.0}),
            Test("other", reason=nasty),
        ),
        settings={nasty: nasty, "group": {nasty: nasty, "steps": nasty}},
        facts={nasty: nasty, "searches": nasty, "converged": nasty},
        caveats=(nasty,),
    )
    return report(
        finding,
        class_names=HOSTILE,
        model=model(name=nasty, file="../" + nasty, architecture=nasty, domain=nasty, format=nasty),
        run=run(device=nasty, started=nasty, versions={nasty: nasty}),
        claimed=(nasty,),
    )


def hostile_shown() -> Report:
    """Every name and text beside inputs before and after is an attack."""
    return shown_reports.hostile(HOSTILE)


def unfinished() -> Report:
    """Numbers that are not finite wherever the types allow a number."""
    nan, inf = math.nan, math.inf
    statistics = (nan, inf, -inf, *CLEAN_STATISTICS[3:])
    tests = (
        Test("population", inf, nan, nan),
        Test("paper", p_value=0.0, log10=-inf, parameters={"shape": nan, "loc": inf, "scale": 0.0}),
    )
    finding = replace(
        backdoored().finding,
        score=inf,
        tests=tests,
        columns=(margins(statistics),),
        ranking=ranked(statistics),
        settings={"size": inf, "group": {"size": nan}},
        traces={3: (nan, inf, 1.0), 4: (nan,), 5: ()},
    )
    return report(finding, stability=Stability((0,), (3,), (nan,)))


ALL = {
    made.__name__: made
    for made in (
        clean,
        backdoored,
        universal,
        by_evidence,
        two_targets,
        reference,
        not_evaluable,
        refused,
        few_classes,
        thousand,
        sounds,
        vectors,
        odd_inputs,
        hostile,
        hostile_shown,
        unfinished,
        *shown_reports.ALL,
        *rival_reports.ALL,
        *ruled_reports.ALL,
    )
}
