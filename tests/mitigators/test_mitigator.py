"""What mitigators share: batches, distances, how far a repair may go, progress."""

from __future__ import annotations

import pytest
import torch

from helpers import backdoored_networks
from helpers.refusals import refused
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.mitigators import MITIGATORS, NotMitigated, Samples, prepare
from mmbd.mitigators.mitigator import batches, counted, disagreement, furthest
from mmbd.model.classifier import Classifier


class Clock:
    """Seconds that pass as told."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


def test_progress_goes_on_from_what_was_done(monkeypatch):
    monkeypatch.setattr("mmbd.mitigators.mitigator.time", Clock())
    calls: list[Progress] = []
    step = counted(calls.append, "training", 4, done=3, unit="epochs")
    step()
    step()  # one more than was expected
    assert calls == [Progress("training", 4, 4, "epochs", 1.0), Progress("training", 5, 5, "epochs", 2.0)]
    counted(None, "training", 3)()


def test_batches_go_through_the_samples_again_and_again():
    made = batches(10, 4, 5, generator_for("batches"))
    assert [len(part) for part in made] == [4] * 5
    together = torch.cat(made)
    assert together[:10].sort().values.tolist() == list(range(10))
    assert together[10:].sort().values.tolist() == list(range(10))
    assert [part.sort().values.tolist() for part in batches(3, 100, 2, generator_for("b"))] == [[0, 1, 2]] * 2
    assert batches(3, 2, 0, generator_for("b")) == []


def test_disagreement_is_between_probabilities():
    sure, other = torch.tensor([[100.0, 0], [0, 100]]), torch.tensor([[0.0, 100], [0, 100]])
    assert float(disagreement(sure, sure)) == 0
    assert float(disagreement(sure, other)) == pytest.approx(1)  # one of two, by a distance of 2
    assert float(disagreement(sure, 3 * sure)) == pytest.approx(0)


def test_furthest_tries_from_the_end_down():
    tried = []

    def accuracy(extent: float) -> float:
        tried.append(round(extent, 3))
        return {0.7: 0.9, 0.3: 0.95}.get(round(extent, 3), 0.1)

    assert furthest(accuracy, 0.9) == 0.7
    assert tried == [1.0, 0.9, 0.8, 0.7]
    assert furthest(accuracy, 0.93) == pytest.approx(0.3)
    assert furthest(lambda extent: 1 - extent, 1.0) == 0
    with pytest.raises(NotMitigated, match="nothing kept an accuracy of 99%"):
        furthest(accuracy, 0.99)


def test_samples_may_be_made_by_hand():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    made = prepare(clf, inputs, labels)
    samples = Samples(made.inputs, made.labels, made.logits)
    assert MITIGATORS["mm-bm-paper"].function(clf, samples, iterations=2).record.changed
    assert prepare(clf, inputs[:4], labels[:4], fewest=1).labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(NotMitigated, match="at least 30 of every class"):
        prepare(clf, inputs, labels, fewest=30)


class Buffers(torch.nn.Module):
    """A network whose numbers are no parameters, as of a function that was wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3)
        weight = self.convolution.weight.detach()
        del self.convolution
        self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.conv2d(x, self.weight)).mean((2, 3))


@pytest.mark.parametrize("method", ["hardening", "distillation", "fine-pruning", "unlearning"])
def test_methods_that_train_weights_say_where_there_are_none(method):
    clf = Classifier(Buffers(), input_shape=(1, 6, 6))
    options = {"trigger": lambda inputs: inputs} if method == "unlearning" else {}
    inputs = torch.rand(80, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    refused(clf, inputs, method=method, word="no weights that could be trained", **options)
