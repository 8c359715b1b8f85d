"""The vision transformer: timm's names and shapes written out, and what it computes by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mmbd
from mmbd import nets
from mmbd.base.errors import Failed

Weights = dict[str, Tensor]


def randomised(**arguments: object) -> torch.nn.Module:
    """Also what is 0 or 1 at first, and would hide a bias or a norm left out."""
    torch.manual_seed(0)
    network = nets.build("vit", classes=5, input_shape=(3, 12, 8), width=8, depth=2, **arguments)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return network.eval()


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    """One image (tokens, width), head by head."""
    q, k, v = linear(x, w, f"{name}.qkv").chunk(3, 1)
    found: list[Tensor] = []
    for query, key, value in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        found.append((query @ key.T / query.shape[1] ** 0.5).softmax(1) @ value)
    return linear(torch.cat(found, 1), w, f"{name}.proj")


def by_hand(image: Tensor, w: Weights, heads: int) -> Tensor:
    """The logits of one image of 12 x 8 pixels: patches from left to right, then down."""
    kernel, tokens = w["patch_embed.proj.weight"], [w["cls_token"][0, 0]]
    for row in range(0, 12, 4):
        for column in range(0, 8, 4):
            patch = image[:, row : row + 4, column : column + 4]
            tokens.append((kernel * patch).sum((1, 2, 3)) + w["patch_embed.proj.bias"])
    x = torch.stack(tokens) + w["pos_embed"][0]
    for block in ("blocks.0", "blocks.1"):
        x = x + attention(norm(x, w, f"{block}.norm1"), w, f"{block}.attn", heads)
        hidden = linear(norm(x, w, f"{block}.norm2"), w, f"{block}.mlp.fc1")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(hidden, w, f"{block}.mlp.fc2")
    return linear(norm(x[0], w, "norm"), w, "head")


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_it_computes_what_is_written_out(heads):
    network, images = randomised(heads=heads), torch.rand(3, 3, 12, 8)
    expected = torch.stack([by_hand(image, network.state_dict(), heads) for image in images])
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def listed(width: int, tokens: int, hidden: int, classes: int) -> dict[str, tuple[int, ...]]:
    """The state dict of timm's VisionTransformer with two blocks, patches of 4 and 3 channels."""
    names: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, 4, 4),
        "patch_embed.proj.bias": (width,),
    }
    for block in ("blocks.0", "blocks.1"):
        for part, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", hidden, width),
            ("mlp.fc2", width, hidden),
        ):
            names |= {f"{block}.{part}.weight": (out, into), f"{block}.{part}.bias": (out,)}
        for part in ("norm1", "norm2"):
            names |= {f"{block}.{part}.weight": (width,), f"{block}.{part}.bias": (width,)}
    names |= {"norm.weight": (width,), "norm.bias": (width,)}
    return names | {"head.weight": (classes, width), "head.bias": (classes,)}


def test_names_and_shapes_are_those_of_timm():
    network = nets.build("vit", classes=7, input_shape=(3, 28, 28), width=12, depth=2, ratio=3)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == listed(12, 50, 36, 7)


def test_an_image_has_the_same_answer_in_any_batch():
    network, images = randomised().double(), torch.rand(9, 3, 12, 8, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(network(images), alone, rtol=1e-10, atol=1e-10)


def test_its_slopes_at_the_inputs_are_right():
    network = randomised().double()
    images = torch.rand(2, 3, 12, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, images, fast_mode=True)


def test_a_state_dict_tells_all_but_the_heads(tmp_path: Path):
    """Sizes of its own, for images of 20 pixels with one channel, in ratio 1.5, at three blocks."""
    file = tmp_path / "m.pt"
    arguments = {"patch": 5, "width": 16, "depth": 3, "ratio": 1.5}
    network = nets.build("vit", classes=6, input_shape=(1, 20, 20), **arguments)
    torch.save(network.state_dict(), file)
    with pytest.raises(Failed, match=r"look like vit: try --arch vit .*--arch-arg heads=4") as raised:
        mmbd.load(file)
    words = str(raised.value).split()
    said = dict(word.split("=") for word in words if "=" in word)
    assert {key: float(value) for key, value in said.items()} == arguments | {"heads": 4}
    assert words[words.index("--input") + 1] == "1x20x20"
    loaded = mmbd.load(file, arch="vit", arch_args=arguments, input_shape=(1, 20, 20))
    assert loaded.classifier.classes == 6


def test_wide_ones_have_heads_of_64_as_published():
    from mmbd.formats.networks import envelopes, nearest

    with torch.device("meta"):
        network = nets.build(
            "vit", classes=10, input_shape=(3, 64, 64), width=192, depth=12, heads=3, ratio=4
        )
    (guess,) = nearest.nearest(envelopes.candidates(network.state_dict()))
    assert (guess.arguments["heads"], guess.arguments["depth"], guess.shape) == (3, 12, (3, 64, 64))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((3, 32), {}, "image shape"),
        ((3, 30, 32), {}, "patches of 4 pixels do not fill an image of 30x32"),
        ((3, 3, 3), {}, "do not fill an image of 3x3"),
        ((3, 32, 32), {"heads": 5}, "width of 64 cannot be shared by 5 heads"),
        ((3, 32, 32), {"depth": 0}, "at least 1, got 4, 64, 0, 4"),
        ((3, 32, 32), {"patch": -4}, "at least 1"),
        ((3, 32, 32), {"ratio": 0.01}, "no hidden units"),
        ((3, 256, 256), {}, "has 4,096 patches of 4 pixels, expected at most 1,024"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        nets.build("vit", classes=10, input_shape=shape, **arguments)
