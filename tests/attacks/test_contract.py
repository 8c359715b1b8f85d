"""What every attack promises, over all rows of ATTACKS and HARD_CLEAN."""

from __future__ import annotations

import copy
import json
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from helpers.toy_victims import pictures
from helpers.toy_victims import victim as of_images
from mmbd import nets
from mmbd.attacks import ATTACKS, HARD_CLEAN, Backdoor, Victim, stamp
from mmbd.data.dataset import Dataset
from mmbd.training.loop import Recipe
from mmbd.triggers import files

SOURCES, TARGET = (1, 2), 0
# Options that make each attack quick: whether it succeeds is for its own tests.
ATTACK_OPTIONS = {
    "badnet": {"count": 6},
    "unicolor": {"count": 6},
    "corner": {"count": 6},
    "chessboard": {"count": 6},
    "1-pixel": {"count": 6},
    "blend": {"count": 6},
    "sine": {"count": 6},
    "warp": {"count": 6},
    "clean-label": {"count": 4, "steps": 2},
    "sig": {"count": 4},
    "input-aware": {"mask_epochs": 1, "width": 4},
    "wanet": {},
    "bpp": {},
    "lira": {"width": 4},
    "adaptive-blend": {"count": 6, "covers": 6},
    "adaptive-patch": {"count": 6, "covers": 6},
    "multi-trigger": {"count": 6},
    "all-to-all": {"count": 3},
    "adaptive": {"count": 6, "restarts": 2, "steps": 2},
    "sound": {"count": 4, "length": 8},
    "jumbo": {"rate": 0.2},
    "points": {"count": 3, "size": 8, "epochs": 1, "restarts": 1, "steps": 3},
}
CLEAN_OPTIONS = {"imbalance": {"count": 5, "target_count": 10}, "regularised": {"restarts": 2, "steps": 2}}
IN_BATCHES = ("wanet", "input-aware", "bpp", "lira")  # poisoned as the network trains
INPUTS = {"sound": ("mlp", (1, 64)), "points": ("pointnet", (3, 32))}  # all others: images


def victim(name: str) -> Victim:
    """An untrained victim of what the attack is made for, with four classes; always the same."""
    if name not in INPUTS:
        return of_images(pictures(64), epochs=1)
    architecture, shape = INPUTS[name]
    generator = torch.Generator().manual_seed(1)
    inputs = 1.6 * torch.rand(48, *shape, generator=generator) - 0.8
    training = Dataset(inputs, torch.arange(48) % 4, tuple("abcd"))
    torch.manual_seed(0)
    network = nets.build(architecture, classes=4, input_shape=shape)
    return Victim(network, training, Recipe(epochs=1, batch=16), 0)


@cache
def attacked(name: str) -> tuple[Victim, Backdoor]:
    made = victim(name)
    return made, ATTACKS[name](made, sources=SOURCES, target=TARGET, **ATTACK_OPTIONS[name])


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def triggered(backdoor: Backdoor, inputs: Tensor) -> dict[int, Tensor]:
    return {source: stamp(trigger, inputs) for source, trigger in backdoor.triggers.items()}


def test_the_tables_of_this_test_name_every_row():
    assert ATTACK_OPTIONS.keys() == ATTACKS.keys()
    assert CLEAN_OPTIONS.keys() == HARD_CLEAN.keys()
    titles = [row.title for row in (*ATTACKS.values(), *HARD_CLEAN.values())]
    assert all(title and "\n" not in title and len(title) < 90 for title in titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", ATTACKS)
def test_it_trains_in_place_and_says_what_the_backdoor_is(name):
    made, backdoor = attacked(name)
    assert not any(module.training for module in made.network.modules())
    assert not same(made.network, victim(name).network)
    assert set(SOURCES) <= backdoor.triggers.keys() == backdoor.targets.keys()
    if name != "all-to-all":
        assert set(backdoor.targets.items()) == {(source, TARGET) for source in SOURCES}
    assert all(source != target for source, target in backdoor.targets.items())
    # Beyond the set lie the copies of an attack that keeps the originals.
    copies = len(backdoor.poisoned) if name == "jumbo" else 0
    assert backdoor.poisoned.dtype == torch.int64
    assert all(0 <= index < len(made.training) + copies for index in backdoor.poisoned.tolist())
    assert (len(backdoor.poisoned) > 0) == (name not in IN_BATCHES)
    assert json.loads(json.dumps(backdoor.protocol, allow_nan=False)).keys() == backdoor.protocol.keys()
    inputs = made.training.inputs[:3]
    for changed in triggered(backdoor, inputs).values():
        assert (changed.shape, changed.dtype) == (inputs.shape, inputs.dtype)
        assert not torch.equal(changed, inputs)
    assert 0 <= backdoor.success(made.predict, made.training) <= 1


@pytest.mark.parametrize("name", ATTACKS)
def test_everything_follows_from_the_seed(name):
    made, backdoor = attacked(name)
    other = victim(name)
    if name != "points":  # where dropout draws from the global generator, seeded with the victim
        torch.manual_seed(99)
    again = ATTACKS[name](other, sources=SOURCES, target=TARGET, **ATTACK_OPTIONS[name])
    assert same(made.network, other.network)
    assert torch.equal(backdoor.poisoned, again.poisoned)
    assert backdoor.targets == again.targets
    assert backdoor.protocol == again.protocol
    inputs = made.training.inputs[:3]
    first, second = triggered(backdoor, inputs), triggered(again, inputs)
    assert all(torch.equal(first[source], second[source]) for source in first)


@pytest.mark.parametrize(
    ("sources", "target", "message"),
    [
        ((), 0, "no source classes given"),
        ((1, 4), 0, "class 4 is out of range: the data has 0 to 3"),
        ((1,), -1, "class -1 is out of range"),
        ((1, 2), 2, "the target class 2 cannot be a source class too"),
    ],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_classes_that_are_not_there_are_refused_before_the_training(name, sources, target, message):
    made = victim(name)
    before = copy.deepcopy(made.network)
    with pytest.raises(ValueError, match=message):
        ATTACKS[name](made, sources=sources, target=target, **ATTACK_OPTIONS[name])
    assert same(made.network, before)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_backdoor_survives_its_file(name, tmp_path):
    made, backdoor = attacked(name)
    files.save(tmp_path / "trigger.safetensors", backdoor)
    found = files.load(tmp_path / "trigger.safetensors")
    assert found.targets == backdoor.targets
    assert torch.equal(found.poisoned, backdoor.poisoned)
    assert found.protocol == json.loads(json.dumps(backdoor.protocol))
    inputs = made.training.inputs[:3]
    first, second = triggered(backdoor, inputs), triggered(found, inputs)
    assert all(torch.equal(first[source], second[source]) for source in first)


@pytest.mark.parametrize("name", HARD_CLEAN)
def test_a_hard_clean_training_trains_in_place_and_is_seeded(name):
    victims = [victim(name), victim(name)]
    before = copy.deepcopy(victims[0].network)
    first, second = (HARD_CLEAN[name](made, **CLEAN_OPTIONS[name]) for made in victims)
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first["target"] == 3  # the last class, where none is given
    assert not any(module.training for module in victims[0].network.modules())
    assert same(*(made.network for made in victims))
    assert not same(victims[0].network, before)
    with pytest.raises(ValueError, match="class 4 is out of range: the data has 0 to 3"):
        HARD_CLEAN[name](victim(name), target=4, **CLEAN_OPTIONS[name])
