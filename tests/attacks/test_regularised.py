"""The regularised clean model: the chosen class's statistic stands out, and only by the term."""

from __future__ import annotations

import json

import pytest

from helpers.toy_victims import pictures, victim
from mmbd.attacks.regularised import regularised
from mmbd.training import loop as train


def test_the_chosen_class_stands_out_of_a_good_model():
    statistics = {}
    for beta in (0.0, 3e-3):
        made = victim()
        protocol = regularised(made, target=1, beta=beta)
        assert json.loads(json.dumps(protocol)) == protocol
        statistics[beta] = protocol["statistics"]
        test = pictures(100, seed=5)
        predictions = made.predict(test.inputs)
        assert train.accuracy(predictions, test.labels) > 0.95
    plain, raised = statistics.values()
    assert raised[1] > 1.8 * plain[1]
    assert raised[1] > 1.5 * max(raised[0], *raised[2:])


def test_the_last_class_is_the_default_and_others_are_checked():
    made = victim(pictures(40), epochs=1)
    assert regularised(made)["target"] == 3
    with pytest.raises(ValueError, match="class 4 is out of range: the data has 0 to 3"):
        regularised(made, target=4)
