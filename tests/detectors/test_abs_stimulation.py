"""ABS's first half: what raising one neuron does, and which neurons come under suspicion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import neuron_networks
from mmbd.base.errors import NotEvaluable
from mmbd.detectors.abs.neurons import Neuron, around, channel_sums, gradients
from mmbd.detectors.abs.stimulation import chosen, highest, judged, rises
from mmbd.model.activations import Activation, find
from mmbd.model.classifier import Classifier

IMAGES = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
KINDS = [(nn.ReLU, {}), (nn.ReLU, {"inplace": True}), (nn.ELU, {}), (nn.GELU, {})]


def raised_by_hand(clf, module, channel, value):
    """The logits of IMAGES with a channel of what goes into a module set to a value."""

    def set_it(_, inputs):
        given = inputs[0].clone()
        given[:, channel] = value
        return (given,)

    handle = module.register_forward_pre_hook(set_it)
    try:
        with torch.no_grad(), clf.frozen():
            return clf(IMAGES)
    finally:
        handle.remove()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_logits_rise_as_they_do_by_hand_in_all_layers(kind, options):
    clf = neuron_networks.stages(kind, **options)
    modules = clf.model.activations()
    for layer, module in zip(find(clf), modules, strict=True):
        forwards = []
        with torch.no_grad(), clf.frozen():
            top = highest(clf, IMAGES, layer)
            got = rises(clf, IMAGES, layer, levels=3, reach=6, done=forwards.append)
        assert top > 0
        assert sum(forwards) == layer.channels * 3 * len(IMAGES)
        for channel in range(layer.channels):
            zero, one, two = (raised_by_hand(clf, module, channel, i * 2 * top) for i in range(3))
            torch.testing.assert_close(got[channel], torch.maximum(one, two) - zero)


def test_many_images_go_through_in_parts(monkeypatch):
    clf = neuron_networks.stages(nn.ReLU)
    layer = find(clf)[1]
    most, answer = [], clf.answer

    def counted(inputs):
        most.append(len(inputs))
        return answer(inputs)

    monkeypatch.setattr(clf, "answer", counted)
    with torch.no_grad(), clf.frozen():
        whole = rises(clf, IMAGES, layer, levels=3, reach=6)
        monkeypatch.setattr("mmbd.detectors.abs.stimulation.CHUNK", 2)
        most.clear()
        parts = rises(clf, IMAGES, layer, levels=3, reach=6)
    assert max(most) == 2
    torch.testing.assert_close(parts, whole)


def test_channels_that_come_last_are_raised_too():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(2), nn.Linear(36, 4), nn.GELU(), nn.Linear(4, 4), nn.Flatten(), nn.Linear(12, 4)
    )
    clf = Classifier(net, input_shape=(3, 6, 6))
    (layer,) = find(clf)
    assert layer.axis == -1
    with torch.no_grad():
        got = rises(clf, IMAGES, layer, levels=2, reach=2)
        hidden = net[:2](IMAGES)
        off, on = hidden.clone(), hidden.clone()
        off[..., 2], on[..., 2] = 0, hidden.max()
        torch.testing.assert_close(got[2], net[2:](on) - net[2:](off))


def test_what_is_around_an_activation_and_nothing_after_it_runs():
    clf = neuron_networks.stages(nn.ReLU, inplace=True)
    ran = []
    clf.model.hidden.register_forward_hook(lambda *_: ran.append("hidden"))
    layer = find(clf)[2]
    ran.clear()
    with torch.no_grad(), clf.frozen():
        given, output = around(clf, IMAGES, layer)
    assert not ran
    assert (given < 0).any()
    torch.testing.assert_close(output, given.relu())


def test_gradients_are_those_of_the_loss():
    clf = neuron_networks.stages()
    layer = find(clf)[2]
    channels = torch.tensor([0, 3, 1, 1, 2])
    got = gradients(clf, IMAGES, layer, channels, 1e-2)
    x = IMAGES.clone().requires_grad_()
    given, output = around(clf, x, layer)
    both = channel_sums(layer, given) + channel_sums(layer, output)
    own = both[torch.arange(5), channels]
    (wanted,) = torch.autograd.grad((-own + 1e-2 * (both.sum(1) - own)).sum(), x)
    torch.testing.assert_close(got, wanted)


def test_a_layer_that_an_input_does_not_reach_is_said():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(108, 4)

        def forward(self, x):
            return self.head(torch.relu(x).flatten(1) if float(x.detach().mean()) > 0.3 else x.flatten(1))

    layer = Activation("relu", 0, 3, 1, (3, 6, 6))
    with pytest.raises(NotEvaluable, match="does not get to its activation relu"):
        around(Classifier(Gate(), input_shape=(3, 6, 6)), torch.zeros(2, 3, 6, 6), layer)


def test_a_planted_neuron_comes_first_with_its_class():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    with torch.no_grad():
        net[5].weight[1, 6] += 5
    clf = Classifier(net, input_shape=(3, 6, 6))
    labels = torch.tensor([0, 1, 2, 3, 0])
    neurons = []
    with torch.no_grad():
        for layer in find(clf):
            classes, scores = judged(rises(clf, IMAGES, layer, levels=5, reach=8), labels)
            neurons += [Neuron(layer, i, int(classes[i]), float(scores[i])) for i in range(8)]
    first = chosen(neurons, most=20, spread=10, cap=3)[0]
    assert (first.activation.index, first.channel, first.label) == (1, 6, 1)


def test_the_score_is_the_least_lead_of_images_of_other_classes():
    rise = torch.zeros(4, 6, 3)
    rise[0, :, 2] = torch.tensor([5.0, 4.0, 1.0, 3.0, 9.0, 9.0])  # the third image is of class 2
    rise[0, 1, 1] = 2.0
    rise[1, :, 0] = 1.0
    rise[1, 4:, 1] = 7.0  # two dissent: enough agree
    rise[2, :, 0] = 1.0
    rise[2, 3:, 1] = 7.0  # three dissent
    labels = torch.tensor([0, 1, 2, 0, 1, 0])
    classes, scores = judged(rise, labels)
    assert classes[:2].tolist() == [2, 0]
    assert scores[:3].tolist() == [2.0, 1.0, 0.0]
    assert float(scores[3]) == 0.0
    # All images are of the class that rises: nothing can be said.
    assert judged(rise[:1], torch.full((6,), 2))[1].tolist() == [0.0]


def neurons_of(scores: dict[int, list[float]]) -> list[Neuron]:
    return [
        Neuron(Activation(f"layer {layer}", layer, 99, 1, (99,)), channel, 0, score)
        for layer, row in scores.items()
        for channel, score in enumerate(row)
    ]


def test_the_first_candidates_are_of_several_layers_and_the_rest_fill_up():
    table = {0: [100.0 - i for i in range(30)], 1: [50.0 - i for i in range(5)], 2: [0.5, 0.4, 0.0, -1.0]}
    table |= {3: [0.3 - i / 100 for i in range(4)]}
    got = [
        (one.activation.index, one.channel) for one in chosen(neurons_of(table), most=20, spread=10, cap=3)
    ]
    assert got[:10] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert got[10:] == [(0, channel) for channel in range(3, 13)]
    assert len(chosen(neurons_of({0: [3.0, 0.0], 5: [1.0]}), most=20, spread=10, cap=3)) == 2
    few = chosen(neurons_of(table), most=4, spread=10, cap=3)
    assert [(one.activation.index, one.channel) for one in few] == [(0, 0), (0, 1), (0, 2), (1, 0)]
