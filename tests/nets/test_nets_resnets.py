"""ResNets as others publish them: names and shapes written out, and what they compute by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mmbd
from mmbd import nets

Weights = dict[str, Tensor]
BN = ("weight", "bias", "running_mean", "running_var")


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Also its running statistics, which are 0 and 1 at first and would hide a norm left out."""
    state = {
        name: value if value.dtype == torch.long else torch.rand_like(value) * 0.5 + 0.1
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval()


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scale = w[f"{name}.weight"] / (var + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]


def block(x: Tensor, w: Weights, name: str, stride: int, skip: Tensor) -> Tensor:
    out = F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1)
    out = norm(out, w, f"{name}.bn1").clamp(min=0)
    out = F.conv2d(out, w[f"{name}.conv2.weight"], padding=1)
    return (norm(out, w, f"{name}.bn2") + skip).clamp(min=0)


def shapes(arch: str, **arguments: object) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = nets.build(arch, classes=1000, input_shape=(3, 224, 224), **arguments)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def listed(depths: tuple[int, ...], width: int = 64) -> dict[str, tuple[int, ...]]:
    """The state dict of torchvision's resnet18 (2, 2, 2, 2) and resnet34 (3, 4, 6, 3)."""

    def bn(name: str, channels: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.{part}": (channels,) for part in BN} | {f"{name}.num_batches_tracked": ()}

    names: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 7, 7), **bn("bn1", width)}
    inputs = width
    for stage, depth in enumerate(depths):
        outputs = width << stage
        for index in range(depth):
            name = f"layer{stage + 1}.{index}"
            names[f"{name}.conv1.weight"] = (outputs, inputs, 3, 3)
            names |= bn(f"{name}.bn1", outputs)
            names[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            names |= bn(f"{name}.bn2", outputs)
            if stage and index == 0:
                names[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                names |= bn(f"{name}.downsample.1", outputs)
            inputs = outputs
    return names | {"fc.weight": (1000, inputs), "fc.bias": (1000,)}


@pytest.mark.parametrize(
    ("arch", "depths", "tensors", "count"),
    [
        ("resnet18_imagenet", (2, 2, 2, 2), 122, 11_689_512),
        ("resnet34_imagenet", (3, 4, 6, 3), 218, 21_797_672),
    ],
)
def test_torchvisions_names_and_shapes(arch: str, depths: tuple[int, ...], tensors: int, count: int) -> None:
    assert shapes(arch) == listed(depths)
    assert len(shapes(arch)) == tensors
    with torch.device("meta"):
        network = nets.build(arch, classes=1000, input_shape=(3, 224, 224))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("size", [64, 50])
def test_the_imagenet_network_by_hand(size: int) -> None:
    torch.manual_seed(0)
    network = randomised(nets.build("resnet18_imagenet", classes=5, input_shape=(3, size, size), width=2))
    w, x = dict(network.state_dict()), torch.rand(2, 3, size, size)
    out = norm(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), w, "bn1").clamp(min=0)
    out = F.max_pool2d(out, 3, stride=2, padding=1)
    for stage in range(1, 5):
        for index in range(2):
            name, stride, skip = f"layer{stage}.{index}", 1, out
            if stage > 1 and index == 0:
                stride = 2
                skip = F.conv2d(out, w[f"{name}.downsample.0.weight"], stride=2)
                skip = norm(skip, w, f"{name}.downsample.1")
            out = block(out, w, name, stride, skip)
    logits = out.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(x), logits)


@pytest.mark.parametrize("width", [2, 3])
def test_a_shortcut_without_weights_by_hand(width: int) -> None:
    torch.manual_seed(0)
    network = randomised(
        nets.build("resnet20", classes=5, input_shape=(3, 16, 16), width=width, shortcut="A")
    )
    w, x = dict(network.state_dict()), torch.rand(2, 3, 16, 16)
    out = norm(F.conv2d(x, w["conv1.weight"], padding=1), w, "bn1").clamp(min=0)
    for stage in range(1, 4):
        for index in range(3):
            stride, skip = 1, out
            if stage > 1 and index == 0:
                batch, channels, height, size = out.shape
                stride = 2
                skip = torch.zeros(batch, 2 * channels, height // 2, size // 2)
                skip[:, channels // 2 : channels // 2 + channels] = out[:, :, ::2, ::2]
            out = block(out, w, f"layer{stage}.{index}", stride, skip)
    logits = out.mean((2, 3)) @ w["linear.weight"].T + w["linear.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(x), logits)


def test_option_a_has_the_names_of_the_other_without_its_shortcuts() -> None:
    with_weights, without = shapes("resnet20"), shapes("resnet20", shortcut="A")
    assert without == {name: shape for name, shape in with_weights.items() if ".shortcut." not in name}
    assert len(with_weights) - len(without) == 12


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_weights_tell_which_shortcut(shortcut: str, tmp_path) -> None:
    torch.manual_seed(0)
    arguments = {"width": 4, "shortcut": shortcut}
    network = nets.build("resnet8", classes=4, input_shape=(3, 16, 16), **arguments).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "m.pt")
    given = {"arch": "resnet8", "input_shape": (3, 16, 16)}
    loaded = mmbd.load(tmp_path / "m.pt", arch_args={"width": 4}, **given)
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.classifier(x), network(x))
    assert ("shortcut='A', as the names in the file say" in loaded.notes) == (shortcut == "A")
    assert loaded.arguments == ({"width": 4} if shortcut == "B" else arguments)
    assert loaded.model.architecture == (
        "resnet8(width=4)" if shortcut == "B" else "resnet8(width=4, shortcut='A')"
    )
    assert mmbd.load(tmp_path / "m.pt", arch_args=arguments, **given).classifier.classes == 4
    other = {"width": 4, "shortcut": "BA"[shortcut == "B"]}
    with pytest.raises(mmbd.base.errors.Failed, match="shortcut"):
        mmbd.load(tmp_path / "m.pt", arch_args=other, **given)


def test_some_of_the_shortcuts_are_not_taken_for_none(tmp_path) -> None:
    network = nets.build("resnet8", classes=4, input_shape=(3, 16, 16), width=4)
    state = network.state_dict()
    del state["layer2.0.shortcut.0.weight"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(mmbd.base.errors.Failed, match=r"missing: layer2\.0\.shortcut\.0\.weight"):
        mmbd.load(tmp_path / "m.pt", arch="resnet8", arch_args={"width": 4}, input_shape=(3, 16, 16))


def test_no_decoy_by_the_other_shortcut(tmp_path) -> None:
    made = [
        nets.build("resnet8", classes=4, input_shape=(3, 16, 16), width=4, shortcut=shortcut)
        for shortcut in "AB"
    ]
    for first, second in (made, made[::-1]):
        value = {"state_dict": first.state_dict(), "z": second.state_dict()}
        torch.save(value, tmp_path / "m.pt")
        with pytest.raises(mmbd.base.errors.Failed, match="holds several state dicts that fit"):
            mmbd.load(tmp_path / "m.pt", arch="resnet8", arch_args={"width": 4}, input_shape=(3, 16, 16))
