"""The score of all marks: what ships is what the frozen measurements give; what is left out stays out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study import score
from benchmarks.study.marked_models import MARKS, Model, read
from benchmarks.study.ways import LIMIT, units_of, weighted
from mmbd.detectors.mm_bd import power
from mmbd.null import combined
from mmbd.null.combined import GAIN, MARGIN, PAIRS, WINDOW

FROZEN = Path(score.__file__).parents[1] / "results" / "variety.jsonl"


def model(attack: str | None = None, pairs: float = 0.0, source: str = "a", **marks: dict[int, float]):
    card = {"zoo": "z", "name": "m", "number": 0, "classes": 5, "train_accuracy": 1.0, "arch": "cnn"}
    card |= {"attack": attack, "pairs": {}, "target": 3 if attack else None}
    return Model(card, marks, pairs, None, source)


def test_the_evidence_is_of_the_class_that_the_marks_add_up_to():
    weights = np.zeros(len(MARKS))
    weights[[MARKS.index(mark) for mark in (MARGIN, GAIN, PAIRS)]] = (1.0, 2.0, 4.0)
    say = weighted(weights)
    marks = {MARGIN: {1: 0.5, 2: 0.0}, GAIN: {1: 0.0, 2: 0.4}, WINDOW: {1: 9.0}}
    assert say(model(**marks)) == (pytest.approx(0.8), 2)
    assert say(model(pairs=0.3, **marks)) == (pytest.approx(1.2), -1)


def test_no_mark_counts_for_more_than_the_limit_but_pairs():
    say = weighted(np.ones(len(MARKS)), 0.6)
    assert say(model(gain={1: 0.9}, window={1: 0.3, 2: 0.1})) == (pytest.approx(0.9), 1)
    assert say(model(pairs=1.0, gain={1: 0.9})) == (1.0, -1)


def test_a_kind_that_is_left_out_was_not_fitted_on():
    models = [model(source=source, gain={0: rank / 50}) for source in "ab" for rank in range(12)]
    models += [model("badnet-M", source=source, gain={3: 1.0}) for source in "ab"]
    seen: list[Sequence[Model]] = []

    def way(some: Sequence[Model]):
        seen.append(some)
        return weighted(np.ones(len(MARKS)))

    judged = score.nested(way, models)
    left_out = [{one.family for one in some} for some in seen]
    assert left_out[:2] == [{"b"}, {"a"}]
    assert all(one.right for one in judged if not one.model.clean)


def test_without_a_head_another_table_is_asked():
    models = [model(gain={0: value}, head={0: 2.0}) for value in np.linspace(0, 1, 20)]
    tables = score.Tables.of(weighted(np.ones(len(MARKS))), models)
    bare = replace(models[0], standing={GAIN: {0: 0.5}})
    assert tables.for_model(models[0]).usual(5) == pytest.approx(tables.for_model(bare).usual(5) + 2.0)


def test_what_ships_is_what_the_frozen_measurements_give():
    models = read(FROZEN)
    choosing = [one for one in models if not one.reports]
    weights = units_of(choosing)
    shipped = combined.shipped()
    assert shipped.most == pytest.approx(LIMIT / weights.sum(), abs=2e-3)
    weights /= weights.sum()
    assert dict(zip(MARKS, weights, strict=True)) == pytest.approx(dict(shipped.by_mark), abs=2e-3)
    assert len(shipped.table.gaps) == sum(one.clean for one in models)
    assert shipped.table.settings_key == score.KEY
    reporting = [one for one in models if one.reports]
    frozen = json.loads(FROZEN.with_name("score.json").read_text())["reporting"]
    say = weighted(np.array([shipped.by_mark[mark] for mark in MARKS]), shipped.most)
    judged = score.judge(say, score.Tables.of(say, choosing), reporting)
    assert score.figures(judged)["found, right target"] == frozen["found, right target"]
    told = power.shipped()
    assert sum(share.found for share in told.attacks.values()) == sum(
        one.flagged and one.right for one in judged if not one.model.clean
    )
