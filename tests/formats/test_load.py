"""From files to classifiers: what mmbd saved itself, and what a user describes with flags."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.formats.loaded import Loaded
from mmbd.formats.spec import METADATA_KEY, Spec, save

SPEC = Spec(
    "cnn",
    (3, 8, 8),
    4,
    {"widths": (4, 8)},
    bounds=(0.0, 255.0),
    mean=(1.0, 2.0, 3.0),
    std=(4.0, 5.0, 6.0),
    class_names=("a", "b", "c", "<script>"),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / "model.safetensors", SPEC.network(), SPEC)
    return tmp_path / "model.safetensors"


def same(loaded: Loaded, network: nn.Module, mean: Any = 0.0, std: Any = 1.0) -> bool:
    """Whether the classifier computes what the network does on normalised inputs."""
    points = torch.stack([loaded.classifier.domain.sample(torch.Generator()) for _ in range(3)])
    shape = (-1, *[1] * (points.dim() - 2))
    inputs = (points - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
    with torch.no_grad():
        return torch.allclose(loaded.classifier(points), network.eval()(inputs), atol=1e-5)


def test_files_of_mmbd_need_no_flags(tmp_path: Path) -> None:
    network = SPEC.network()
    path = tmp_path / "my model.safetensors"
    save(path, network, SPEC)
    loaded = mmbd.load(path)
    assert same(loaded, network, SPEC.mean, SPEC.std)
    assert loaded.notes == ()
    assert loaded.classifier.class_names == ("a", "b", "c", "<script>")
    assert dataclasses.asdict(loaded.model) == {
        "name": "my model.safetensors",
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "format": "safetensors",
        "architecture": "cnn(widths=(4, 8))",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "domain": "Box((3, 8, 8), low=0, high=255)",
        "input_shape": (3, 8, 8),
        "bounds": (0.0, 255.0),
        "mean": (1.0, 2.0, 3.0),
        "std": (4.0, 5.0, 6.0),
        "beside": {},
    }


def test_what_is_given_takes_precedence_and_is_noted(saved: Path) -> None:
    loaded = mmbd.load(
        saved,
        input_shape=(3, 16, 16),
        bounds=(-1, 1),
        mean=0.5,
        std=(1, 2, 3),
        class_names=["p", "q", "r", "s"],
    )
    assert loaded.classifier.domain.shape == (3, 16, 16)
    assert loaded.model.bounds == (-1.0, 1.0)
    assert loaded.model.mean == (0.5,)
    assert loaded.model.std == (1.0, 2.0, 3.0)
    assert loaded.classifier.class_names == ("p", "q", "r", "s")
    assert loaded.notes == (
        "given here and not taken from the file: input_shape, bounds, mean, std, class_names",
    )


def test_another_architecture_than_the_files(saved: Path) -> None:
    with pytest.raises(Failed, match=r"do not fit the architecture mlp; missing: 3\.weight, 3\.bias"):
        mmbd.load(saved, arch="mlp")
    assert mmbd.load(saved, arch="cnn").classifier.classes == 4
    with pytest.raises(Failed, match="too few for that"):
        mmbd.load(saved, arch="cnn", arch_args={"widths": (4, 8, 16)})


def test_without_any_description_the_three_ways_are_explained(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "m.pt")
    with pytest.raises(Failed) as raised:
        mmbd.load(tmp_path / "m.pt")
    for way in ("resnet18", "package.module:factory", "path/to/file.py:factory", "--input"):
        assert way in str(raised.value)
    with pytest.raises(Failed, match="what inputs it takes: give --input"):
        mmbd.load(tmp_path / "m.pt", arch=lambda: nn.Linear(4, 3))
    with pytest.raises(Failed, match="needs to know its inputs: give --input"):
        mmbd.load(tmp_path / "m.pt", arch="resnet8")


@pytest.mark.parametrize("classes", [2, 3, 11])
@pytest.mark.parametrize(
    ("arch", "arguments", "shape"),
    [
        ("resnet8", {"width": 4}, (3, 8, 8)),
        ("cnn", {"widths": (2, 2), "hidden": (2,)}, (1, 8, 8)),
        ("mlp", {"hidden": (2,)}, (5,)),
        ("mlp", {"hidden": (5,) * 12}, (5,)),
    ],
)
def test_built_in_architectures_find_the_class_count(
    arch: str, arguments: dict[str, Any], shape: tuple[int, ...], classes: int, tmp_path: Path
) -> None:
    """Also where other layers have two units, and where names sort differently than they come."""
    network = Spec(arch, shape, classes, arguments).network()
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    loaded = mmbd.load(tmp_path / "m.safetensors", arch=arch, arch_args=arguments, input_shape=shape)
    assert loaded.classifier.classes == classes
    assert loaded.notes == (f"{classes} classes, as the shape of the last layer says",)
    assert same(loaded, network)
    for given in ({"classes": classes}, {"arch_args": {**arguments, "classes": classes}}):
        options = {"arch": arch, "arch_args": arguments, "input_shape": shape, **given}
        assert mmbd.load(tmp_path / "m.safetensors", **options).notes == ()
    with pytest.raises(Failed, match="of another shape"):
        mmbd.load(
            tmp_path / "m.safetensors", arch=arch, arch_args=arguments, input_shape=shape, classes=classes + 1
        )


def linear() -> nn.Module:
    return nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "missing: bias"),
        (
            lambda state: state.update({f"x{i}": torch.ones(1) for i in range(7)}),
            "unexpected: x0, x1, x2, x3, x4 and 2 more",
        ),
        (
            lambda state: state.update(weight=torch.ones(4, 3)),
            r"another shape: weight is \(4, 3\) in the file, not \(3, 4\)",
        ),
        (
            lambda state: state.update(weight=torch.ones(3, 4, dtype=torch.int8)),
            r"another kind of number: weight is torch\.int8",
        ),
        (
            lambda state: state.update(weight=torch.ones(3, 4, dtype=torch.complex64)),
            r"another kind of number: weight is torch\.complex64",
        ),
        (lambda state: state.update({"\x1b[31mred": state.pop("bias")}), r"unexpected: \\x1b\[31mred"),
    ],
)
def test_loading_is_strict(change: Any, message: str, tmp_path: Path) -> None:
    state = dict(linear().state_dict())
    change(state)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(Failed, match=message):
        mmbd.load(tmp_path / "m.pt", arch=linear, input_shape=(4,))


def test_half_precision_weights_are_used_in_the_networks_own(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in linear().state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=linear, input_shape=(4,))
    assert loaded.notes == ("weights kept as torch.float16 are used as torch.float32",)


def test_weights_that_are_not_finite_are_noted_or_not_evaluable(tmp_path: Path) -> None:
    state = linear().state_dict()
    state["bias"][0] = float("nan")
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(NotEvaluable, match="NaN or infinite"):
        mmbd.load(tmp_path / "m.pt", arch=linear, input_shape=(4,))

    class Aside(nn.Module):
        """The broken weight does not reach the output."""

        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = linear(), linear()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    network = Aside()
    network.unused.weight.data[0, 0] = float("inf")
    torch.save(network.state_dict(), tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=Aside, input_shape=(4,))
    assert loaded.notes == ("some weights are NaN or infinite",)


def test_a_softmax_at_the_end_is_not_evaluable(tmp_path: Path) -> None:
    network = nn.Sequential(linear(), nn.Softmax(1))
    torch.save(network.state_dict(), tmp_path / "m.pt")
    with pytest.raises(NotEvaluable, match="probabilities"):
        mmbd.load(tmp_path / "m.pt", arch=lambda: nn.Sequential(linear(), nn.Softmax(1)), input_shape=(4,))


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_shape": (5,)},
        {"input_shape": (0,)},
        {"input_shape": (4,), "mean": (1.0, 2.0)},
        {"input_shape": (4,), "std": 0.0},
        {"input_shape": (4,), "bounds": (1, 0)},
        {"input_shape": (4,), "class_names": ["one"]},
        {"input_shape": (4,), "classes": 4},
        {"input_shape": (4,), "device": "no-such-device"},
    ],
)
def test_inputs_that_do_not_fit(arguments: dict[str, Any], tmp_path: Path) -> None:
    torch.save(linear().state_dict(), tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"m\.pt: "):
        mmbd.load(tmp_path / "m.pt", arch=linear, **arguments)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_one_weights_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "somebody--net"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if name.endswith("bin"):
        torch.save(linear().state_dict(), folder / name)
    else:
        save_file(linear().state_dict(), folder / name)
    loaded = mmbd.load(folder, arch=linear, input_shape=(4,))
    assert loaded.notes == (f"the folder's weights file is {name}",)
    assert loaded.model.name == "somebody--net"
    assert loaded.model.file == str(folder / name)


def test_symbolic_links_to_files_are_followed(saved: Path, tmp_path: Path) -> None:
    """The cache of the hub is made of them."""
    (tmp_path / "link.safetensors").symlink_to(saved)
    assert mmbd.load(tmp_path / "link.safetensors").classifier.classes == 4


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    mmbd.load(saved)
    assert torch.equal(torch.rand(3), expected)


def test_the_networks_gradients_do_not_reach_the_files_tensors(tmp_path: Path) -> None:
    """Parameters in a checkpoint may ask for gradients; the classifier's are its own."""
    torch.save(dict(linear().named_parameters()), tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=linear, input_shape=(4,))
    assert isinstance(loaded.classifier.model, nn.Module)
    assert all(parameter.grad_fn is None for parameter in loaded.classifier.model.parameters())
    assert not loaded.classifier.model.training


def test_the_name_stays_callable_whatever_was_imported_first(saved: Path) -> None:
    """`mmbd.load` is a function to its users and a package to the import system."""
    program = (
        "import sys, mmbd.formats.spec, mmbd\n"
        f"for _ in range(2): assert mmbd.load({str(saved)!r}).classifier.classes == 4\n"
        f"from mmbd.formats.load import load; load({str(saved)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_metadata_without_ours_is_no_description(tmp_path: Path) -> None:
    save_file(linear().state_dict(), tmp_path / "m.safetensors", metadata={"format": "pt"})
    with pytest.raises(Failed, match="does not say which network"):
        mmbd.load(tmp_path / "m.safetensors")
    save_file(linear().state_dict(), tmp_path / "m.safetensors", metadata={METADATA_KEY: "{"})
    with pytest.raises(Failed, match="metadata is broken"):
        mmbd.load(tmp_path / "m.safetensors", arch=linear, input_shape=(4,))
