"""Activations that exporters write in pieces are whole again, and the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.onnx_files import answers, built, model, node, values
from mmbd.model import activations
from mmbd.model.classifier import Classifier

HALVES = {
    "two": np.float32(2**0.5),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "less": np.float32(0.5**0.5),
}
FORMS = {
    "gelu of torch": ["Div g two d", "Erf d e", "Add e one a", "Mul g a m", "Mul m half h"],
    "gelu, other order": ["Mul less g d", "Erf d e", "Add one e a", "Mul a half m", "Mul g m h"],
    "gelu, half first": ["Div g two d", "Erf d e", "Add e one a", "Mul g half m", "Mul m a h"],
    "silu": ["Sigmoid g s", "Mul g s h"],
    "mish": ["Softplus g p", "Tanh p t", "Mul t g h"],
    "hardswish": ["HardSigmoid g s", "Mul g s h"],
}
OTHERS = {
    "another number": ["Div g one d", "Erf d e", "Add e one a", "Mul g a m", "Mul m half h"],
    "another gate": ["Sigmoid g s", "Mul x6 s h"],
    "a gate that is used again": ["Sigmoid g s", "Mul g s m", "Add m s h"],
}
TENSORS = {**HALVES, "w": values(4, 6), "b": values(6), "v": values(6, 5), "x6": values(6)}


def network(lines: list[str]) -> object:
    nodes = [node("MatMul", "x w", "l"), node("Add", "l b", "g")]
    for line in lines:
        op, *inputs, output = line.split()
        sixth = {"alpha": 1 / 6, "beta": 0.5} if op == "HardSigmoid" else {}
        nodes.append(node(op, " ".join(inputs), output, **sixth))
    return model([*nodes, node("MatMul", "h v", "y")], ["n", 4], TENSORS)


@pytest.mark.parametrize("name", [*FORMS, *OTHERS])
def test_it_computes_the_same_and_is_seen(name: str) -> None:
    file = network({**FORMS, **OTHERS}[name])
    points = values(7, 4, seed=3, low=-3, high=3)
    module = built(file).module
    assert torch.allclose(module(torch.from_numpy(points)), answers(file, points), rtol=1e-4, atol=1e-5)
    found = activations.find(Classifier(module, input_shape=(4,)))
    assert len(found) == (name in FORMS)
    assert all(each.channels == 6 and not each.residual for each in found)


ATTENTION = {
    "scaled before": ["Mul q s q2", "Transpose k t", "Mul t s t2", "MatMul q2 t2 a", "Softmax a p"],
    "scaled after": ["Transpose k t", "MatMul q t a", "Div a s b", "Softmax b p"],
    "with a mask": ["Transpose k t", "MatMul q t a", "Add mask a b", "Softmax b p"],
    "plain": ["Transpose k t", "MatMul q t a", "Softmax a p"],
}


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize("form", ATTENTION)
def test_attention_is_one_function_again(form: str, heads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = [3, 2, 5, 4] if heads else [3, 5, 4]
    tensors = {name: values(4, 4, seed=seed) for seed, name in enumerate("cde")}
    tensors |= {"s": np.float32(0.7), "mask": values(5, 5), "size": np.array([-1, *shape[1:]])}
    order = list(range(len(shape)))
    parts = zip("cde", "qkv", strict=True)
    nodes = [node("Reshape", "x size", "r"), *(node("MatMul", f"r {one}", to) for one, to in parts)]
    for line in ATTENTION[form]:
        op, *inputs, output = line.split()
        more = {"perm": [*order[:-2], order[-1], order[-2]]} if op == "Transpose" else {}
        nodes.append(node(op, " ".join(inputs), output, **more))
    nodes += [node("MatMul", "p v", "w"), node("Flatten", "w", "y")]
    file = model(nodes, ["n", int(np.prod(shape[1:]))], tensors)
    called = []
    own = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *given, **more: called.append(1) or own(*given, **more),
    )
    points = values(3, int(np.prod(shape[1:])), seed=3)
    module = built(file).module
    assert torch.allclose(module(torch.from_numpy(points)), answers(file, points), rtol=1e-4, atol=1e-5)
    assert called
