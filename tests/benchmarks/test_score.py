"""The score of all marks: what ships is what the frozen measurements give; what is left out stays out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study import score
from benchmarks.study.marked_models import MARKS, Model, read
from benchmarks.study.ways import units_of, weighted
from mmbd.detectors.mm_bd import power
from mmbd.null import combined
from mmbd.null.combined import GAIN, HEAD, MARGIN, PAIRS, WINDOW

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


def test_networks_with_and_without_a_head_are_compared_with_their_like():
    models = [model(gain={0: value}, head={0: 2.0}) for value in np.linspace(0, 1, 20)]
    models += [model(gain={0: value}) for value in np.linspace(0, 0.2, 10)]
    tables = score.Tables.of(weighted(np.ones(len(MARKS))), models)
    assert len(tables.for_model(models[0]).gaps) == 20
    assert tables.for_model(models[0]).usual(5) == pytest.approx(2.5)
    assert len(tables.for_model(models[-1]).gaps) == 10
    assert tables.for_model(models[-1]).usual(5) == pytest.approx(0.1)


def test_what_ships_is_what_the_frozen_measurements_give():
    models = read(FROZEN)
    choosing = [one for one in models if not one.reports]
    weights = units_of(choosing)
    weights /= weights.sum()
    shipped = combined.shipped()
    assert dict(zip(MARKS, weights, strict=True)) == pytest.approx(dict(shipped.by_mark), abs=2e-3)
    kinds = [HEAD in one.standing for one in models if one.clean]
    assert (len(shipped.table.gaps), len(shipped.headless.gaps)) == (sum(kinds), len(kinds) - sum(kinds))
    assert shipped.table.settings_key == score.KEY
    reporting = [one for one in models if one.reports]
    frozen = json.loads(FROZEN.with_name("score.json").read_text())["reporting"]
    say = weighted(np.array([shipped.by_mark[mark] for mark in MARKS]))
    judged = score.judge(say, score.Tables.of(say, choosing), reporting)
    assert score.figures(judged)["found, right target"] == frozen["found, right target"]
    told = power.shipped()
    assert sum(share.found for share in told.attacks.values()) == sum(
        one.flagged and one.right for one in judged if not one.model.clean
    )
