"""Networks that answer otherwise each time, or by what else is in the batch, are told apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmbd
from mmbd.model.classifier import Classifier
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.recheck import recheck

SHAPE = (1, 8, 8)


class Network(nn.Module):
    def __init__(self, kind: str, amount: float = 0.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 8)
        self.norm = nn.BatchNorm1d(32, affine=False, track_running_stats=False)
        self.kind, self.amount = kind, amount

    def forward(self, x):
        x = x.flatten(1)
        if self.kind == "dropout":
            x = F.dropout(x, self.amount)
        x = self.first(x).relu()
        if self.kind == "batch" and len(x) > 1:
            x = torch.lerp(x, self.norm(x), self.amount)
        logits = 10 * self.last(x)
        if self.kind == "noise":
            logits = logits + self.amount * torch.randn_like(logits)
        return logits


def looked_at(kind: str, amount: float = 0.5):
    clf = Classifier(Network(kind, amount), input_shape=SHAPE)
    return recheck(clf, maximum_margins(clf))


def test_a_steady_network_has_nothing_to_state():
    found = looked_at("none")
    assert found.caveats == ()
    assert found.drowned is None
    assert max(found.again, found.batch) < 1e-3
    assert found.logits.shape == (8, 8)


@pytest.mark.parametrize(
    ("kind", "words"), [("dropout", "from call to call"), ("batch", "other inputs of the batch")]
)
def test_there_is_no_verdict_where_margins_drown(kind, words):
    found = looked_at(kind)
    assert words in found.drowned
    report = mmbd.scan(Classifier(Network(kind), input_shape=SHAPE), universal=False)
    assert (report.verdict, report.exit_code) == ("not evaluable", 3)
    assert words in report.reason
    assert report.targets == ()


def test_a_little_noise_is_stated_and_no_more():
    found = looked_at("noise", 0.02)
    assert found.drowned is None
    assert found.caveats[0].startswith("The network's answers change from call to call, by up to")
    report = mmbd.scan(Classifier(Network("noise", 0.02), input_shape=SHAPE), universal=False)
    assert any("call to call" in caveat for caveat in report.caveats)
    assert "call to call" not in (report.reason or "")


def test_rounding_of_small_numbers_is_no_randomness():
    clf = Classifier(Network("none").to(torch.bfloat16), input_shape=SHAPE)
    assert recheck(clf, maximum_margins(clf)).caveats == ()
