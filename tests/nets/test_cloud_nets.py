"""The point-cloud networks: sizes, symmetries, neighbours, and refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmbd import nets
from mmbd.nets.dgcnn import EdgeConv, neighbours

NETWORKS = {"dgcnn": {"k": 6, "width": 8}, "pointnet": {"width": 8}}


def cloud(count: int = 2, points: int = 40, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(count, 3, points, generator=torch.Generator().manual_seed(seed)) - 1


def network(name: str, points: int = 40) -> nn.Module:
    torch.manual_seed(0)
    net = nets.build(name, classes=5, input_shape=(3, points), **NETWORKS[name])
    net(cloud(8, points, seed=1))  # so that the normalisations have seen something
    return net.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_the_points_does_not_matter(name):
    net, x = network(name), cloud()
    shuffled = x[:, :, torch.randperm(40, generator=torch.Generator().manual_seed(2))]
    logits = net(x)
    assert logits.shape == (2, 5)
    assert not torch.allclose(logits[0], logits[1])
    torch.testing.assert_close(net(shuffled), logits)
    torch.testing.assert_close(net(x[1:]), logits[1:])  # nor what lies beside a cloud


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_the_points_and_every_weight(name):
    net = network(name).train()
    x = cloud().requires_grad_()
    net(x).square().sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    # Every point counts in a DGCNN, through the mean; in a PointNet those that win somewhere.
    moved = (x.grad.abs().amax(1) > 0).float().mean()
    assert float(moved) == 1 if name == "dgcnn" else float(moved) > 0.3
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


def test_neighbours_are_the_nearest_points():
    x = cloud(3, 25)
    rows = x.transpose(1, 2)
    expected = torch.cdist(rows, rows).argsort(2)[:, :, :4]
    assert torch.equal(neighbours(x, 4).sort(2).values, expected.sort(2).values)
    assert bool((neighbours(x, 4) == torch.arange(25)[:, None]).any(2).all())  # itself among them


def test_neighbours_do_not_suffer_from_bfloat16():
    x = cloud(1, 60)
    with torch.autocast("cpu", torch.bfloat16):
        inside = neighbours(x, 8)
    assert torch.equal(inside.sort(2).values, neighbours(x, 8).sort(2).values)


@pytest.mark.parametrize("training", [True, False])
def test_edge_convolution_is_what_the_paper_says(training):
    """One edge at a time: the largest of act(norm(W [x_j - x_i, x_i])) over the neighbours."""
    torch.manual_seed(0)
    layer = EdgeConv(3, 6, k=4).train(training)
    convolve, norm, activate = layer
    norm.running_mean.uniform_(-1, 1)
    norm.weight.data.uniform_(-1, 1)  # of either sign
    x = cloud(2, 10)
    near = neighbours(x, 4)
    edges = torch.empty(2, 6, 10, 4)
    for batch in range(2):
        for i in range(10):
            for place, j in enumerate(near[batch, i].tolist()):
                edge = torch.cat((x[batch, :, j] - x[batch, :, i], x[batch, :, i]))
                edges[batch, :, i, place] = convolve(edge[None, :, None, None])[0, :, 0, 0]
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    expected = activate(norm(edges)).amax(3)
    layer.load_state_dict(state)
    torch.testing.assert_close(layer(x), expected)


def test_dgcnn_is_the_published_network():
    with torch.device("meta"):
        net = nets.build("dgcnn", classes=40, input_shape=(3, 1024))
    # 6*64 + 128*64 + 128*128 + 256*256 + 512*1024, two numbers a channel for the normalisations
    # (64+64+128+256+1024+512+256), 2048*512, 512*256+256 and 256*40+40.
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_809_576
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert shapes["conv1.0.weight"] == (64, 6, 1, 1)
    assert shapes["conv4.1.running_mean"] == (256,)
    assert shapes["conv5.0.weight"] == (1024, 512, 1)
    assert shapes["linear1.weight"] == (512, 2048)
    assert shapes["bn7.bias"] == (256,)
    assert shapes["linear3.weight"] == (40, 256)


def test_pointnet_parameter_count():
    with torch.device("meta"):
        net = nets.build("pointnet", classes=40, input_shape=(3, 1024))
    convolutions = 3 * 64 + 64 + 64 * 128 + 128 + 128 * 1024 + 1024
    linear = 1024 * 512 + 512 + 512 * 256 + 256 + 256 * 40 + 40
    norms = 2 * (64 + 128 + 1024 + 512 + 256)
    assert sum(p.numel() for p in net.parameters()) == convolutions + linear + norms


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "message"),
    [
        ("dgcnn", (3, 32, 32), {}, r"point-cloud shape \(3, points\), got \(3, 32, 32\)"),
        ("pointnet", (1, 100), {}, r"point-cloud shape \(3, points\), got \(1, 100\)"),
        ("dgcnn", (3, 10), {}, "k=20 neighbours are asked for in clouds of 10 points"),
        ("dgcnn", (3, 10), {"k": 0}, "k=0 neighbours"),
        ("dgcnn", (3, 100_000), {"k": 1}, "clouds of 100000 points need gigabytes"),
        ("dgcnn", (3, 4096), {"k": 4096}, "need gigabytes in a DGCNN with k=4096 and width=64"),
    ],
)
def test_what_cannot_be_built_is_refused(name, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        nets.build(name, classes=4, input_shape=shape, **arguments)
