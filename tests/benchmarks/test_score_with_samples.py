"""The second look at pairs of classes: its share of the level, and that what ships is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study import score_with_samples as study
from benchmarks.study.marked_models import Model, read
from benchmarks.study.score import Judged, Tables, written
from mmbd.null import with_samples


def judged(p: float, right: bool) -> Judged:
    card = {"zoo": "z", "name": "m", "number": 0, "classes": 5, "train_accuracy": 1.0, "arch": "cnn"}
    return Judged(Model(card, {}, 0.0, None), 1 / p, p, right)


def test_the_look_that_says_more_for_its_share_of_the_level_decides():
    first, second = (
        [judged(p, True) for p in (0.04, 0.04, 0.9)],
        [judged(p, False) for p in (0.01, 0.001, 0.8)],
    )
    found = study.looked_twice(first, second, 0.1)
    assert [one.p_value for one in found] == pytest.approx([0.04 / 0.9, 0.01, 1.0])
    assert [one.right for one in found] == [True, False, True]
    assert [one.score * one.p_value for one in found] == pytest.approx([1.0] * 3)


def test_the_shipped_pairs_are_those_of_the_frozen_measurements():
    results = Path(study.__file__).parents[1] / "results"
    entries = study.entries_of([results / "with_samples.jsonl"])
    choice = study.CHOICES[study.ON_SAMPLES]
    models = [(one, entries.get((one.card["zoo"], one.card["name"]))) for one in read(study.DATA_FREE)]
    tables = Tables.of(
        study.by_pairs, [study.merged(one, entry, choice, 0.03) for one, entry in models if entry is not None]
    )
    raw = json.loads(Path(with_samples.__file__).with_suffix(".json").read_text())["pairs"]
    assert raw == {"share": study.SHARE, "table": written(tables.whole), "headless": written(tables.headless)}
