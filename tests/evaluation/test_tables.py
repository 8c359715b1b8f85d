"""What counts as a detection, a false positive, no answer: figures worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_zoos import result
from mmbd.evaluation.metrics import auc
from mmbd.evaluation.probabilities import posterior
from mmbd.evaluation.tables import tables


def bad(model, flagged=True, named=(2,), targets=(2,), score=5.0, **options):
    return result(
        model, backdoored=True, flagged=flagged, named=named, targets=targets, score=score, **options
    )


def overall(*results):
    (row,) = tables(results).overall
    return row


@pytest.mark.parametrize(
    ("flagged", "named", "targets", "hit", "alone"),
    [
        (True, (2,), (2,), True, False),
        (True, (3,), (2,), False, False),
        (False, (2,), (2,), False, False),  # the right class, but not flagged
        (True, (2, 3), (2,), True, False),
        (True, (3, 2), (2,), False, False),  # the first name decides
        (True, (1,), (0, 1, 2), True, False),  # one of several targets is enough
        (True, (3,), (0, 1, 2), False, False),
        (True, (), (2,), True, True),  # names no class
        (True, (2,), (), True, True),  # the zoo does not know it
        (False, (), (2,), False, False),
        (None, (2,), (2,), False, False),
    ],
)
def test_what_a_detection_is(flagged, named, targets, hit, alone):
    row = overall(bad("b", flagged, named, targets))
    assert (row.detection.hits, row.detection.n) == (int(hit), 1)
    assert row.by_flag_alone == int(alone)


def test_a_small_zoo_by_hand():
    row = overall(
        bad("b0", score=4.0, p_value=1e-4, seconds=1.0),
        bad("b1", named=(7,), score=3.0, p_value=1e-3, seconds=2.0),  # wrong class
        bad("b2", flagged=None, score=9.0, p_value=1e-9),  # no answer, whatever else it says
        bad("b3", flagged=False, score=0.5, p_value=0.3, seconds=4.0),
        result("c0", score=0.1, p_value=0.8, seconds=5.0),
        result("c1", flagged=True, named=(1,), score=2.0, p_value=0.01, seconds=6.0),
        result("c2", flagged=None),
    )
    assert (row.detection.hits, row.detection.n) == (1, 4)
    assert (row.false_positives.hits, row.false_positives.n) == (1, 3)
    assert row.unanswered == (1, 1)
    # Scores 4, 3, -inf, 0.5 against 0.1, 2, -inf: 3 + 3 + 0.5 + 2 of 12 pairs.
    assert row.auc.value == pytest.approx(8.5 / 12)
    # With the right class asked for, b1 ranks last, too: 3 + 0.5 + 0.5 + 2.
    assert row.located_auc == pytest.approx(6 / 12)
    given_ = [posterior(p) for p in (1e-4, 1e-3)] + [0.5, posterior(0.3)]
    losses = [-math.log(p) for p in given_]
    losses += [-math.log(1 - p) for p in (posterior(0.8), posterior(0.01), 0.5)]
    assert row.cross_entropy.value == pytest.approx(sum(losses) / 7)
    assert not row.calibrated_here
    assert row.uniformity.n == 2  # clean models with an answer
    assert row.uniformity.distance == pytest.approx(0.49)  # of 0.01 and 0.8: 0.5 - 0.01
    assert row.seconds == 4.0  # the median of the five answers


def test_models_that_could_not_be_opened_count_nowhere():
    row = overall(
        bad("b0"),
        result("c0", score=1.0),
        bad("b1", opened=False, error="gone"),
        result("c1", opened=False, error="gone"),
    )
    assert (row.detection.n, row.false_positives.n, row.unanswered) == (1, 1, (0, 0))


def test_attacks_are_set_against_ordinary_clean_models():
    found = tables(
        [
            bad("b0", attack="badnet", score=3.0),
            bad("b1", attack="blend", score=1.5),
            result("c0", score=1.0),
            result("c1", score=2.0),
            result("i0", attack="imbalance", flagged=True, score=9.0),
        ]
    )
    rows = {row.part: row for row in found.attacks}
    assert list(rows) == ["badnet", "blend", "clean", "imbalance"]
    assert rows["badnet"].auc.value == 1
    assert rows["blend"].auc.value == 0.5
    assert rows["badnet"].false_positives.n == 2
    assert rows["clean"].detection.n == 0
    assert rows["clean"].auc is None
    assert (rows["imbalance"].false_positives.hits, rows["imbalance"].false_positives.n) == (1, 1)
    # Overall, difficult models are clean models.
    assert found.overall[0].false_positives.n == 3
    assert found.overall[0].auc.value == pytest.approx(3 / 6)


def test_an_attack_without_ordinary_clean_models():
    found = tables([bad("b0", score=1.0), result("i0", attack="imbalance", score=0.0)])
    assert found.attacks[0].auc.value == 1


def test_groups_and_detectors():
    results = [
        bad(f"b{n}", group=group, detector=detector)
        for detector in ("x", "y")
        for n, group in enumerate(("one", "two", "one"))
    ]
    found = tables(results)
    assert [row.detector for row in found.overall] == ["x", "y"]
    assert [(row.part, row.detector, row.detection.n) for row in found.groups] == [
        ("one", "x", 2),
        ("one", "y", 2),
        ("two", "x", 1),
        ("two", "y", 1),
    ]
    assert tables(results[:1]).groups == ()  # one group is no comparison
    assert tables([]).overall == ()


def test_without_p_values_probabilities_are_calibrated_on_the_clean_models():
    row = overall(
        bad("b0", score=9.0), result("c0", score=1.0), result("c1", score=2.0), result("c2", flagged=None)
    )
    assert row.calibrated_here
    # Of three clean models: b0 beats all (1/4); c1 beats the two others (1/3), c0 one (2/3).
    losses = [-math.log(posterior(1 / 4)), -math.log(1 - posterior(2 / 3))]
    losses += [-math.log(1 - posterior(1 / 3)), -math.log(0.5)]
    assert row.cross_entropy.value == pytest.approx(sum(losses) / 4)
    assert row.uniformity is None


def test_a_detector_that_never_answers():
    row = overall(bad("b0", flagged=None, score=None), result("c0", flagged=None))
    assert (row.auc, row.roc, row.cross_entropy, row.seconds) == (None, (), None, None)
    assert row.unanswered == (1, 1)


ANSWERS = st.tuples(st.booleans(), st.sampled_from([True, False, None]), st.integers(0, 3), st.floats(0, 1))


@given(st.lists(ANSWERS, min_size=1, max_size=30))
def test_figures_hang_together(answers):
    results = [
        result(
            f"m{n}",
            backdoored=backdoored,
            targets=(1,) * backdoored,
            flagged=flagged,
            named=(named,),
            score=-p,
            p_value=p,
        )
        for n, (backdoored, flagged, named, p) in enumerate(answers)
    ]
    row = overall(*results)
    assert row.detection.n + row.false_positives.n == len(results)
    assert sum(row.unanswered) == sum(flagged is None for _, flagged, _, _ in answers)
    assert row.detection.low <= (row.detection.share or 0) <= row.detection.high
    assert row.brier is None or 0 <= row.brier <= 1
    if row.auc is not None:
        assert row.located_auc <= row.auc.value + 1e-12
        assert row.partial_auc <= 0.25
        assert row.auc.value == pytest.approx(
            auc([r.score for r in results if r.backdoored], [r.score for r in results if not r.backdoored])
        )
    assert tables(reversed(results)).overall[0].auc == row.auc
