"""Shadow models: seeded one by one, kept in a store, and checked when they are read from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from helpers import tiny_shadows
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.detectors.meta.plan import Plan
from mmbd.detectors.meta.shadows import Shadows, train_shadows
from mmbd.results.store import Store


def same(one: Shadows, other: Shadows) -> bool:
    pairs = list(zip(one.models, other.models, strict=True))
    return all(
        (a.accuracy, a.asr) == (b.accuracy, b.asr)
        and all(torch.equal(value, b.state[name]) for name, value in a.state.items())
        for a, b in pairs
    )


def dropping(*, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """An architecture of one's own, whose training draws from torch's own generator."""
    size = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes))


@pytest.fixture(scope="module")
def trained() -> Shadows:
    return train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3)


def test_half_of_them_have_a_backdoor_and_all_differ(trained):
    assert trained.backdoored.tolist() == [False] * 3 + [True] * 3
    states = [model.state["1.weight"] for model in trained.models]
    assert all(not torch.equal(a, b) for i, a in enumerate(states) for b in states[:i])
    assert min(model.accuracy for model in trained.models) > 0.9
    assert max(model.asr or 0 for model in trained.models) > 0.5


def test_they_depend_on_their_seed_alone(trained):
    before = torch.random.get_rng_state()
    assert same(trained, train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3))
    assert torch.equal(before, torch.random.get_rng_state())
    more = train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=4)
    firsts = more.models[:3] + more.models[4:7]
    assert same(trained, replace(trained, models=firsts))
    other = train_shadows(tiny_shadows.samples(), tiny_shadows.plan(seed=1), count=3)
    assert not same(trained, other)


def test_dropout_is_seeded_too_in_a_network_of_ones_own():
    plan = tiny_shadows.plan(arch=dropping, arguments={})
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runs.append(train_shadows(tiny_shadows.samples(), plan, count=2))
    assert same(*runs)


def test_other_processes_train_the_same(trained):
    assert same(trained, train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, workers=1))


def test_answers_are_those_of_the_trained_network_and_gradients_reach_the_inputs(trained):
    network = tiny_shadows.plan().template()
    network.load_state_dict(trained.models[4].state)
    inputs = torch.rand(5, *tiny_shadows.SHAPE, requires_grad=True)
    answers = trained.answer(4, inputs)
    assert torch.equal(answers, network(inputs))
    answers.sum().backward()
    assert inputs.grad is not None
    assert all(weight.grad is None for weight in trained.network.parameters())


def test_what_is_stored_is_not_trained_again(tmp_path, trained):
    store = Store(tmp_path / "s.sqlite")
    assert train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=2, store=store).stored == 0
    told = []
    more = train_shadows(
        tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store, progress=told.append
    )
    assert (more.stored, [step.note for step in told]) == (4, ["clean 2", "jumbo 2"])
    assert same(more, trained)
    for data, plan in (
        (tiny_shadows.samples(seed=1), tiny_shadows.plan()),
        (tiny_shadows.samples(), tiny_shadows.plan(epochs=4)),
        (tiny_shadows.samples(), tiny_shadows.plan(seed=1)),
        (tiny_shadows.samples(), tiny_shadows.plan(arguments={"hidden": (8,)})),
    ):
        assert train_shadows(data, plan, count=2, store=store).stored == 0


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, trained):
    store = Store(tmp_path / "s.sqlite")

    def stop(step):
        if step.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store, progress=stop)
    again = train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store)
    assert again.stored == 4
    assert same(again, trained)


def altered(name, change):
    def broken(value, tensors):
        return value, to_bytes({**from_bytes(tensors), name: change(from_bytes(tensors).get(name))})

    return broken


BROKEN = {
    "cut short": lambda value, tensors: (value, tensors[:-1]),
    "none": lambda value, tensors: (value, None),
    "not finite": altered("1.weight", lambda weight: weight * float("nan")),
    "another shape": altered("1.weight", lambda weight: weight[:, :-1].contiguous()),
    "another type": altered("1.weight", lambda weight: weight.double()),
    "a tensor more": altered("2.weight", lambda _: torch.ones(1)),
    "no JSON": lambda value, tensors: ("{", tensors),
    "no object": lambda value, tensors: ("[]", tensors),
    "deep": lambda value, tensors: ("[" * 100_000, tensors),
    "no share": lambda value, tensors: ('{"accuracy": 2, "asr": 0.5}', tensors),
    "no success rate": lambda value, tensors: ('{"accuracy": 0.5, "asr": null}', tensors),
    "NaN": lambda value, tensors: ('{"accuracy": NaN, "asr": 0.5}', tensors),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_trained_again(tmp_path, trained, how):
    store = Store(tmp_path / "s.sqlite")
    train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store)
    keys = store.keys()
    key = next(key for key in keys if json.loads(key.settings)["kind"] == "jumbo")
    stored = store.get(key)
    assert stored is not None
    store.put(key, *BROKEN[how](stored.value, stored.artifacts))
    again = train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store)
    assert again.stored == 5
    assert same(again, trained)
    assert train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=3, store=store).stored == 6


def test_what_makes_no_sense_is_refused(tmp_path):
    data, plan = tiny_shadows.samples(), tiny_shadows.plan()
    with pytest.raises(ValueError, match="expected at least 2"):
        train_shadows(data, plan, count=1)
    with pytest.raises(ValueError, match="the plan is for inputs of"):
        train_shadows(data.classes([0, 1]), plan)
    lacking = data.take((data.labels != 1).nonzero().flatten())
    with pytest.raises(ValueError, match="of each: none are of b"):
        train_shadows(lacking, plan)
    wide = Dataset(data.inputs.float(), data.labels, data.names)
    with pytest.raises(ValueError, match=r"must be 8-bit, or from 0 to 1; these range from"):
        train_shadows(wide, plan)
    with pytest.raises(ValueError, match="unknown architecture 'mpl'"):
        tiny_shadows.plan(arch="mpl")
    own = tiny_shadows.plan(arch=lambda **given: dropping(**given), arguments={})
    with pytest.raises(ValueError, match="give a function that can be imported, or no store"):
        train_shadows(data, own, count=2, store=Store(tmp_path / "s.sqlite"))
    clouds = Dataset(torch.rand(6, 3, 32), torch.arange(6) % 3, data.names)
    with pytest.raises(ValueError, match="patches of images and sounds"):
        train_shadows(clouds, Plan((3, 32), 3, "pointnet", {}))


def test_a_training_that_diverges_is_a_failure_that_says_which():
    plan = tiny_shadows.plan()
    with pytest.raises(Failed, match="the clean shadow model 0 could not be trained: the training loss"):
        train_shadows(
            tiny_shadows.samples(), replace(plan, recipe=replace(plan.recipe, lr=1e38, optimizer="sgd"))
        )
