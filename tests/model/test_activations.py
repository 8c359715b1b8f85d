"""Finding activations: by name and in order, their channels, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import backdoored_networks
from helpers.activation_networks import SHAPE, Mixed, Net, around, names
from mmbd.model.activations import Activation, ActivationHook, find, near_input, select
from mmbd.model.classifier import Classifier


def test_a_changed_output_goes_on():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    seen = []

    def change(index, output):
        seen.append((index, tuple(output.shape)))
        return torch.full_like(output, 7.0)

    with torch.no_grad(), ActivationHook(change) as watch:
        got = net(torch.rand(3, 2))
    assert (seen, watch.count) == ([(0, (3, 2))], 1)
    torch.testing.assert_close(got, net[2](torch.full((3, 2), 7.0)))


# -------------------------------------------------------------------------------- names and order


def test_every_call_counts_and_has_a_name_of_its_own():
    activations = find(around(Mixed()))
    assert [activation.index for activation in activations] == list(range(8))
    found = names(activations)
    assert len(set(found)) == 8
    # The shared module goes by the last of its names, a function by that of its module.
    assert [name.split("#")[0] for name in found] == [
        "body.1",
        "body.1",
        "relu",
        "body.1",
        "body.3",
        "relu",
        "elu",
        "relu",
    ]
    assert [activation.channels for activation in activations] == [4, 4, 4, 5, 5, 5, 5, 5]
    assert found[:2] == ["body.1", "body.1#2"]


def test_a_name_means_the_same_again():
    net = Mixed()
    assert find(around(net)) == find(around(net))


def test_the_network_may_be_an_activation_by_itself():
    assert find(Classifier(nn.ReLU(), input_shape=(4,), bounds=(-1, 1))) == (
        Activation("relu", 0, 4, 1, (4,)),
    )


# ---------------------------------------------------------------------------------- which channels


def test_flat_features_and_tokens_have_their_channels_last():
    flat = nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.ELU(), nn.Linear(4, 2)
    )
    assert [(activation.channels, activation.shape) for activation in find(around(flat, (6,)))] == [
        (5, (5,)),
        (4, (4,)),
    ]
    tokens = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2))
    assert find(around(tokens, (3, 6))) == (Activation("1", 0, 5, -1, (3, 5)),)
    normed = nn.Sequential(nn.LayerNorm(6), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    assert find(around(normed, (3, 6))) == (Activation("1", 0, 6, -1, (3, 6)),)


def test_sounds_and_volumes_have_their_channels_first():
    sound = nn.Sequential(nn.Conv1d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 2))
    assert find(around(sound, (1, 8))) == (Activation("1", 0, 5, 1, (5, 6)),)
    volume = nn.Sequential(nn.Conv3d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 2))
    assert find(around(volume, (1, 4, 4, 4))) == (Activation("1", 0, 5, 1, (5, 2, 2, 2)),)


def test_channels_may_move_back_and_forth():
    class Next(nn.Module):  # a ConvNeXt block
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.LayerNorm(4)
            self.up, self.down = nn.Linear(4, 16), nn.Linear(16, 4)
            self.last = nn.Conv2d(4, 6, 1)

        def forward(self, x):
            x = self.norm(self.conv(x).permute(0, 2, 3, 1))
            x = self.down(F.gelu(self.up(x))).permute(0, 3, 1, 2)
            return F.relu(self.last(x)).mean((2, 3))

    assert find(around(Next())) == (
        Activation("gelu", 0, 16, -1, (8, 8, 16)),
        Activation("relu", 1, 6, 1, (6, 8, 8)),
    )


def test_values_by_channel():
    first, last = Activation("a", 0, 3, 1, (3, 2, 2)), Activation("b", 0, 3, -1, (2, 3))
    outputs = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert first.channel_rows(outputs)[1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert last.channel_rows(torch.arange(12.0).reshape(2, 2, 3))[2].tolist() == [2, 5, 8, 11]
    values = torch.tensor([1.0, 2, 3])
    assert (outputs + first.broadcast(values) - outputs)[1, :, 0, 1].tolist() == [1, 2, 3]
    assert (torch.zeros(2, 2, 3) + last.broadcast(values))[1, 0].tolist() == [1, 2, 3]


# ----------------------------------------------------------------------------- nothing left behind


def test_finding_leaves_nothing_behind():
    net = Mixed()
    net.train()
    net.body.eval()
    net.one.weight.requires_grad_(False)
    clf = Classifier(net, input_shape=SHAPE)
    with backdoored_networks.untouched(clf):
        find(clf)


def test_nor_does_a_network_that_fails():
    clf = around(Net(F.relu))
    clf.model.act = lambda x: F.relu(x) / F.relu(x).missing
    with backdoored_networks.untouched(clf), pytest.raises(AttributeError, match="missing"):
        find(clf)
    clf.model.act = F.relu
    assert names(find(clf)) == ["relu"]


def test_a_part_that_fails_and_is_done_without_owns_nothing():
    class Trying(Net):
        def forward(self, x):
            try:
                x = self.broken(x)
            except RuntimeError:
                x = F.relu(self.conv(x))
            return self.head(x.flatten(1))

    net = Trying(None)
    net.broken = nn.Sequential(nn.Conv2d(5, 5, 1), nn.ReLU())  # of other inputs
    assert names(find(around(net))) == ["relu"]


def test_hooks_of_the_owner_stay():
    net, called = Net(nn.ReLU()), []
    net.act.register_forward_hook(lambda *_: called.append(1))
    clf = around(net)
    called.clear()
    assert names(find(clf)) == ["act"]
    assert called == [1]
    assert len(net.act._forward_hooks) == 1


def test_what_is_no_module_has_none():
    net = Net(F.relu)
    assert find(Classifier(lambda x: net(x), input_shape=SHAPE)) == ()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, torch.rand(2, 6))])
def test_what_is_compiled_hides_its_functions(make):
    inner = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    assert find(around(make(inner), (6,))) == ()
    outer = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), make(inner))
    assert names(find(around(outer, (6,)))) == ["1"]


# ------------------------------------------------------------------------------------------ select


def test_activations_are_chosen_by_name_in_their_order():
    activations = find(around(Mixed()))
    assert select(activations, "all") == activations
    assert select(activations, "body.3") == (activations[4],)
    assert select(activations, ["body.3", "body.1#2"]) == (activations[1], activations[4])
    assert near_input(activations) == activations[:3]
    assert near_input(()) == ()


@pytest.mark.parametrize("layers", ["nope", ["body.3", "nope"], ("nope",)])
def test_unknown_names_are_refused_with_the_known_ones(layers):
    activations = find(around(Mixed()))
    with pytest.raises(ValueError, match=r"'nope'; give all, paper or some of: body\.1, body\.1#2"):
        select(activations, layers)
    with pytest.raises(ValueError, match="no activation is called \\[\\]"):
        select(activations, [])
