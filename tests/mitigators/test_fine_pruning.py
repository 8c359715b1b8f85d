"""Fine-Pruning: the channel that only the trigger uses goes, and nothing beyond the budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from helpers import colour_networks
from mmbd import nets
from mmbd.base.errors import NotMitigated
from mmbd.mitigators.bounds_then_pruning import bounds_then_pruning
from mmbd.mitigators.fine_pruning import UNLIMITED, fine_pruning, last
from mmbd.mitigators.mitigator import Mitigation, done, duplicate
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import prepare


def repaired(clf: Classifier | None = None, **options) -> Mitigation:
    clf = colour_networks.classifier() if clf is None else clf
    return fine_pruning(clf, colour_networks.samples(clf), **options)


def test_it_prunes_the_channel_that_only_the_trigger_uses():
    clf = colour_networks.classifier()
    assert colour_networks.rates(clf) == (1, 1)
    before = colour_networks.state(clf)
    made = repaired(clf, epochs=0)
    assert colour_networks.same(before, colour_networks.state(clf))
    assert colour_networks.rates(made.classifier) == (1, 0)
    (limit,) = made.classifier.model.limits
    assert limit.upper.tolist() == [UNLIMITED] * colour_networks.WHITE + [0]
    inputs, _ = colour_networks.images(seed=1)
    assert torch.equal(logits_of(made.classifier, inputs), logits_of(clf, inputs))  # bit for bit
    assert made.record.curves["held_out"][:2] == [1, 1]
    assert made.record.layers[0]["highest"][colour_networks.WHITE] == 0
    assert made.record.notes == ("1 of 4 channels of 1 pruned",)


def test_what_was_pruned_stays_pruned_while_the_rest_is_tuned():
    clf = colour_networks.classifier()
    before = colour_networks.state(clf)
    made = repaired(clf, epochs=5, lr=0.1)
    assert colour_networks.same(before, colour_networks.state(clf))
    assert colour_networks.rates(made.classifier) == (1, 0)
    inner = made.classifier.model.network
    assert not torch.equal(inner[4].weight, clf.model[4].weight)
    assert torch.equal(inner[0].weight[colour_networks.WHITE], clf.model[0].weight[colour_networks.WHITE])
    assert len(made.record.curves["loss"]) == 5


def ladder() -> Classifier:
    """Nine classes of one channel each, used the less the lower its number: each costs its class.

    The tenth class has no channel; it wins where nothing is seen.
    """
    first, second = nn.Linear(9, 9), nn.Linear(9, 10)
    with torch.no_grad():
        first.weight.copy_(torch.diag(2.0 ** torch.arange(9)))
        first.bias.zero_()
        second.weight.zero_()
        second.weight[:9] = 10 * torch.eye(9)
        second.bias.copy_(torch.tensor([0.0] * 9 + [1]))
    return Classifier(nn.Sequential(first, nn.ReLU(), second), input_shape=(9,))


def rungs(clf: Classifier):
    labels = torch.arange(200) % 10
    inputs = torch.eye(10)[labels][:, :9]
    return prepare(clf, inputs, labels)


WHOLE = fine_pruning(ladder(), rungs(ladder()), budget=1, held_out=0.5, epochs=0)


@pytest.mark.parametrize("wanted", range(9))
def test_the_last_pruning_within_the_budget_is_kept(wanted):
    curve = WHOLE.record.curves["held_out"]  # of no channel pruned, of one, and so on
    assert curve[0] == 1
    assert all(one > next_ for one, next_ in pairwise(curve))
    clf = ladder()
    made = fine_pruning(clf, rungs(clf), budget=1 - curve[wanted], held_out=0.5, epochs=0)
    (limit,) = made.classifier.model.limits
    assert (limit.upper == 0).tolist() == [channel < wanted for channel in range(9)]
    assert made.record.curves["held_out"] == curve[: wanted + 2]


@pytest.mark.parametrize("wanted", range(1, 9))
def test_one_sample_beyond_the_budget_is_too_much(wanted):
    clf, curve = ladder(), WHOLE.record.curves["held_out"]
    made = fine_pruning(clf, rungs(clf), budget=1 - curve[wanted] - 0.01, held_out=0.5, epochs=0)
    (limit,) = made.classifier.model.limits
    assert (limit.upper == 0).tolist() == [channel < wanted - 1 for channel in range(9)]


def test_it_never_prunes_all_and_may_take_more_at_a_time():
    assert (WHOLE.classifier.model.limits[0].upper == 0).sum() == 8
    clf = ladder()
    made = fine_pruning(clf, rungs(clf), budget=1, held_out=0.5, stride=0.33, epochs=0)
    assert (made.classifier.model.limits[0].upper == 0).sum() == 6
    assert len(made.record.curves["held_out"]) == 3


def two_layers() -> Classifier:
    """The network of `colours` with a second layer that repeats the first one's channels."""
    first, relu, *rest = colour_networks.network()
    second = nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        second.weight.copy_(torch.eye(4)[:, :, None, None])
        second.bias.zero_()
    return colour_networks.classifier(nn.Sequential(first, relu, second, nn.ReLU(), *rest))


def bounded(clf: Classifier, *limits: Limit) -> Classifier:
    return clf.around(Bounded(duplicate(clf), limits))


@pytest.mark.parametrize("fold", [False, True])
def test_bounds_are_in_force_and_kept(fold):
    clf = two_layers()
    first, _ = activations.find(clf)
    given = Limit(first, torch.tensor([0.0, 2, 2, 2]), torch.zeros(4), fold)  # hides red
    clf = bounded(clf, given)
    before = colour_networks.state(clf)
    made = repaired(clf, epochs=2, budget=0.0)
    assert colour_networks.same(before, colour_networks.state(clf))
    model = made.classifier.model
    assert isinstance(model, Bounded)
    assert not isinstance(model.network, Bounded)
    kept, own = model.limits
    assert torch.equal(kept.upper, given.upper)
    assert kept.fold == fold
    assert [limit.activation.name for limit in model.limits] == ["1", "3"]
    # With red hidden the last two channels say nothing of red and white: those go first.
    assert own.upper.tolist() == [0, UNLIMITED, UNLIMITED, 0]
    assert [layer["name"] for layer in made.record.layers] == ["1", "3"]


@pytest.mark.parametrize("fold", [False, True])
def test_bounds_on_the_pruned_activation_are_merged(fold):
    clf = colour_networks.classifier()
    (activation,) = activations.find(clf)
    upper = torch.tensor([1.5, 1.25, 1, 0.75])
    clf = bounded(clf, Limit(activation, upper, None, fold))
    made = repaired(clf, epochs=1)
    (limit,) = made.classifier.model.limits
    assert limit.upper.tolist() == [1.5, 1.25, 1, 0]
    assert limit.fold == fold
    assert colour_networks.rates(made.classifier) == (1, 0)


def test_bounding_then_pruning_makes_one_network_with_both():
    def bounding(clf, samples, *, seed=0, progress=None):
        assert seed == 3
        (activation,) = activations.find(clf)
        return done("bounds", bounded(clf, Limit(activation, torch.full((4,), 1.5))), samples, notes=("a",))

    clf = colour_networks.classifier()
    made = bounds_then_pruning(clf, colour_networks.samples(clf), bounding=bounding, seed=3, epochs=1)
    (limit,) = made.classifier.model.limits
    assert limit.upper.tolist() == [1.5, 1.5, 1.5, 0]
    assert made.record.method == "bounds + fine-pruning"
    assert made.record.notes == ("a", "1 of 4 channels of 1 pruned")
    assert made.record.settings["fine-pruning"]["epochs"] == 1
    assert "fine-pruning: held_out" in made.record.curves


@pytest.mark.parametrize("nonlinearity", ["leaky_relu", "gelu", "silu"])
def test_a_pruned_channel_lets_nothing_through_below_zero_either(nonlinearity):
    torch.manual_seed(0)
    net = nets.build("cnn", classes=3, input_shape=(3, 8, 8), widths=(6,), nonlinearity=nonlinearity)
    clf = Classifier(net, input_shape=(3, 8, 8))
    inputs = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = fine_pruning(clf, prepare(clf, inputs), budget=1, epochs=0)
    seen = []
    with torch.no_grad():
        made.classifier.model.network[3].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        made.classifier(inputs)
    live = (made.classifier.model.limits[0].upper > 0).nonzero().flatten().tolist()
    assert len(live) == 1
    assert [c for c in range(6) if bool((seen[0][:, c] != 0).any())] == live
    assert float(seen[0][:, live].min()) < 0  # the others are as they were


def test_the_seed_decides():
    first, again, other = (
        colour_networks.state(repaired(epochs=1, seed=seed).classifier) for seed in (0, 0, 1)
    )
    assert colour_networks.same(first, again)
    assert not colour_networks.same(first, other)


def test_progress_ends_where_it_said():
    calls = []
    repaired(epochs=3, batch=20, progress=lambda at: calls.append((at.done, at.total)))
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert calls[-1][0] == calls[-1][1] == 2 + 3 * 3  # two rounds, 48 samples in batches of 20


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("cnn", "6"),
        ("vgg16", "features.42"),
        ("resnet8", "layer3.0.relu#2"),
        ("resnet18", "layer4.1.relu#2"),
        ("mlp", "4"),
        ("lenet", "4"),
        ("mobilenet", None),
    ],
)
def test_the_last_convolution_is_found(arch, name):
    arguments = {
        "cnn": {"widths": (4, 4), "hidden": (5,)},
        "vgg16": {"width": 2},
        "resnet18": {"width": 2},
    }.get(arch, {})
    net = nets.build(arch, classes=4, input_shape=(3, 32, 32), **arguments)
    activation = last(activations.find(Classifier(net.eval(), input_shape=(3, 32, 32))))
    if name is not None:
        assert activation.name == name
    assert (len(activation.shape) == 3) == (arch != "mlp")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"held_out": 0}, "held_out"),
        ({"held_out": 1}, "held_out"),
        ({"budget": -1}, "budget"),
        ({"stride": 0}, "stride"),
        ({"layer": "nope"}, "nope"),
        ({"batch": 1}, "batch"),
        ({"augment": ("spin",)}, "spin"),
    ],
    ids=str,
)
def test_bad_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        repaired(**options)


def test_a_network_without_activations_is_not_mitigated():
    clf = colour_networks.classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)))
    inputs, _ = colour_networks.images()
    with pytest.raises(NotMitigated, match="no activation"):
        fine_pruning(clf, prepare(clf, inputs))
