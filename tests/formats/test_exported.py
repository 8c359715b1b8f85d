"""Programs of torch.export, read by code of our own: the answers and gradients that torch's has."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mmbd
from helpers.exported_programs import Flat, Gated, InPlace, Recurrent, changed, flat, saved
from mmbd import nets
from mmbd.base.errors import Failed, Refused
from mmbd.formats import export
from mmbd.formats.exported import operators, work
from mmbd.formats.exported.functions import AS_FUNCTIONS
from mmbd.formats.rows import OneByOne, Single, any_batch
from mmbd.mitigators.learned_bounds import activations
from mmbd.model.bounded import Bounded, Limit


def loaded(tmp_path: Path, data: bytes, **options: Any) -> Any:
    (tmp_path / "net.pt2").write_bytes(data)
    return mmbd.load(tmp_path / "net.pt2", **options)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "a ResNet": (lambda: nets.build("resnet8", classes=4, input_shape=(3, 8, 8), width=4), (3, 8, 8)),
    "in place": (InPlace, (1, 6, 6)),
    "an LSTM": (Recurrent, (7, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_and_gradients_are_the_networks(name: str, tmp_path: Path) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    network = make().eval()
    found = loaded(tmp_path, saved(network, shape))
    assert found.model.input_shape == shape
    assert found.model.architecture.startswith("torch.export program (")
    assert (found.notes, found.doubts) == ((), ())
    inputs = torch.rand(5, *shape, requires_grad=True)
    mine, theirs = found.classifier(inputs), network(inputs)
    assert torch.equal(mine, theirs)
    own, other = (torch.autograd.grad(out[:, 0].sum(), inputs)[0] for out in (mine, theirs))
    assert torch.equal(own, other)
    before = found.classifier(inputs).detach()
    assert torch.equal(found.classifier(inputs).detach(), before)  # operations in place changed no weight


def test_a_batch_of_one_in_the_file_is_no_hindrance(tmp_path: Path) -> None:
    network, data = flat()
    found = loaded(tmp_path, data)
    assert any("batch of one" in note for note in found.notes)
    inputs = torch.rand(4, 1, 6, 6)
    wanted = torch.cat([network(row[None]) for row in inputs])
    torch.testing.assert_close(found.classifier(inputs), wanted)
    assert found.doubts == ()
    assert [one.shape for one in activations(found.classifier, "all")] == [(4, 6, 6)]


def test_a_batch_of_one_in_the_file_can_be_scanned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Flat(5)
    found = loaded(tmp_path, saved(network, (1, 6, 6), any_batch=False))
    assert mmbd.scan(found, steps=3).verdict in ("clean", "backdoored")


def test_rows_are_taken_together_or_in_turn() -> None:
    network, _ = flat()
    single, note = any_batch(network, (1, 6, 6))
    assert isinstance(single, Single)
    assert "in turn" in note
    assert mmbd.Classifier(single, input_shape=(1, 6, 6)).reading.rows == "one"

    class Pair(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.view(2, 5) * 2

    in_turn, note = any_batch(Pair(), (5,), 2)
    assert isinstance(in_turn, OneByOne)
    assert "batch of 2" in note
    inputs = torch.rand(3, 5)
    assert torch.equal(in_turn(inputs), inputs * 2)
    plain = nn.Linear(5, 2)
    assert any_batch(plain, (5,)) == (plain, "")
    with pytest.raises(Failed, match="does not take an input of shape"):
        any_batch(plain, (6,))


def test_what_fix_writes_reads_back_with_its_bounds(tmp_path: Path) -> None:
    torch.manual_seed(2)
    clf = mmbd.Classifier(InPlace().eval(), input_shape=(1, 6, 6), mean=0.4, std=0.3)
    (one,) = activations(clf, "all")
    bounded = clf.around(Bounded(clf.model, [Limit(one, torch.full((4,), 0.2), None, True)]))
    export.torch_export(bounded, tmp_path / "fixed.pt2")
    found = mmbd.load(tmp_path / "fixed.pt2")
    assert found.doubts == ()
    inputs = torch.rand(5, 1, 6, 6)
    torch.testing.assert_close(found.classifier(inputs), bounded(inputs))
    assert not torch.allclose(found.classifier(inputs), clf(inputs))


def test_its_activations_can_be_bounded(tmp_path: Path) -> None:
    _, data = flat()
    (one,) = activations(loaded(tmp_path, data).classifier, "all")
    assert (one.channels, one.axis, one.shape) == (4, 1, (4, 6, 6))


def test_the_inputs_may_be_left_open(tmp_path: Path) -> None:
    data = changed(
        saved(InPlace(), (1, 6, 6)),
        lambda value: value["graph_module"]["graph"]["tensor_values"]["inputs"]["sizes"].__setitem__(
            2, {"as_expr": {"expr_str": "s7", "hint": None}}
        ),
    )
    with pytest.raises(Failed, match="leaves the size of its inputs open: give --input"):
        loaded(tmp_path, data)
    assert loaded(tmp_path, data, input_shape=(1, 9, 9)).model.input_shape == (1, 9, 9)


def test_another_architecture_may_not_be_given(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="describes its network itself: leave --arch out"):
        loaded(tmp_path, flat()[1], arch="lenet")


def test_strange_operations_are_refused_at_once_and_branches_by_name(tmp_path: Path) -> None:
    def strange(value: Any) -> None:
        first, second, *_ = value["graph_module"]["graph"]["nodes"]
        first["target"], second["target"] = "torch.ops.aten.bernoulli.default", "torch.os.system"

    with pytest.raises(Refused, match=r"bernoulli\.default, torch\.os\.system"):
        loaded(tmp_path, changed(flat()[1], strange))

    def branch(value: Any) -> None:
        value["graph_module"]["graph"]["nodes"][1]["target"] = "torch.ops.higher_order.cond"

    with pytest.raises(Refused, match=r"branches: cond \(relu\)"):
        loaded(tmp_path, changed(flat()[1], branch))


def test_every_operation_of_the_list_is_torchs_and_opens_nothing() -> None:
    names = " ".join(operators.FAMILIES).split()
    assert len(names) == len(set(names))
    assert [name for name in names if operators.ATEN + name not in operators.table()] == []
    words = ("file", "random", "rand", "bernoulli", "out", "save", "from_file", "multinomial", "print")
    assert not [name for name in names if name.partition(".")[0].strip("_") in words or ".out" in name]
    assert {name for name in AS_FUNCTIONS if name not in names} == set()
    in_place = {name for name in names if name.partition(".")[0].endswith("_")}
    assert in_place == set(operators.IN_PLACE.split())


DOUBTFUL: dict[str, tuple[Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor], str]] = {
    "a comparison of the batch": (
        lambda net, x, t: net.good(x) + t * (x.shape[0] == 1) * net.bad(x),
        "together.*mul",
    ),
    "a share of the batch": (lambda net, x, t: net.good(x) + t / x.shape[0] * net.bad(x), "together.*div"),
    "a number filled in": (
        lambda net, x, t: net.good(x) + t * torch.full((1,), x.shape[0] * 1.0) * net.bad(x),
        "together.*full",
    ),
    "places in the batch": (
        lambda net, x, t: net.good(x) + t * torch.arange(x.shape[0])[:, None] * net.bad(x),
        "together.*mul",
    ),
    "a sum over the batch": (lambda net, x, t: net.good(x) + t.cumsum(0) * net.bad(x), "together.*cumsum"),
    "a comparison": (lambda net, x, t: net.good(x) + (t > 0.01) * net.bad(x), "gradients.*gt"),
    "a choice": (lambda net, x, t: torch.where(t > 0.01, net.good(x), net.bad(x)), "gradients.*where"),
    "a sign": (lambda net, x, t: net.good(x) + t.sign() * net.bad(x), "gradients.*sign"),
    "a steep tanh": (
        lambda net, x, t: net.good(x) + (1e6 * (t - 0.6)).tanh() * net.bad(x),
        "gradients.*tanh",
    ),
    "its own size": (lambda net, x, t: net.good(x) + t / (t.abs() + 1e-9) * net.bad(x), "gradients.*div"),
    "a place as a number": (
        lambda net, x, t: net.good(x) + x.argmax(1)[:, None] * net.bad(x),
        "gradients.*mul",
    ),
    "numbers by a place": (
        lambda net, x, t: net.good(x) + net.bad.weight[:, :3][x.argmax(1) % 3],
        "gradients.*index",
    ),
    "whole numbers": (lambda net, x, t: net.good((x * 255).int().float()), r"gradients.*to\.dtype"),
    "another precision": (lambda net, x, t: net.good((x.double() + 1e9 - 1e9).float()), "precision.*float64"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_may_hide_a_backdoor_is_a_doubt(name: str, tmp_path: Path) -> None:
    join, words = DOUBTFUL[name]
    data = saved(Gated(join), (3, 2, 2))
    assert re.search(words, " ".join(loaded(tmp_path, data).doubts))
    assert loaded(tmp_path, data, as_claimed=True).doubts == ()


def test_a_change_in_memory_that_is_used_elsewhere_is_a_doubt(tmp_path: Path) -> None:
    def hidden(net: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        held = torch.zeros_like(t)
        held.view(-1, 1).add_(t)
        return net.good(x) + held.cumsum(0) * net.bad(x)

    (doubt,) = (d for d in loaded(tmp_path, saved(Gated(hidden), (3, 2, 2))).doubts if "in place" in d)
    assert "add_" in doubt


def test_cutting_gradients_off_changes_nothing(tmp_path: Path) -> None:
    network = Gated(lambda net, x, t: net.good(x.detach()) + t)
    found = loaded(tmp_path, saved(network, (3, 2, 2)))
    inputs = torch.rand(2, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(found.classifier(inputs)[:, 0].sum(), inputs)
    torch.testing.assert_close(gradient.flatten(1), network.good.weight[:1].expand(2, 12))
    assert found.doubts == ()


def test_a_selection_that_does_not_jump_is_none(tmp_path: Path) -> None:
    def selected(net: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        found = net.good(x) - t
        return torch.where(found > 0, found, 0.1 * found)

    network = Gated(selected)
    assert loaded(tmp_path, saved(network, (3, 2, 2))).doubts == ()


@pytest.mark.parametrize("name", ["vit", "dgcnn"])
def test_networks_of_this_package_bring_no_doubts(name: str, tmp_path: Path) -> None:
    shape, small = {"vit": ((3, 8, 8), {"patch": 4}), "dgcnn": ((3, 24), {})}[name]
    network = nets.build(name, classes=5, input_shape=shape, **small).eval()
    found = loaded(tmp_path, saved(network, shape))
    assert (found.doubts, found.notes) == ((), ())


def test_a_program_in_double_precision_is_noted(tmp_path: Path) -> None:
    network: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    stream = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.rand(1, 3, 2, 2).double(),)), stream)
    found = loaded(tmp_path, stream.getvalue())
    assert found.doubts == ()
    assert any("float64" in note for note in found.notes)


def test_hours_of_work_are_counted_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(work, "MAX_WORK", 4 * 9 * 36 + 3 * 144)
    assert loaded(tmp_path, flat()[1]).classifier.classes == 3
    monkeypatch.setattr(work, "MAX_WORK", 4 * 9 * 36 + 3 * 144 - 1)
    with pytest.raises(Failed, match="need hours"):
        loaded(tmp_path, flat()[1])
