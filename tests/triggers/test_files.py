"""Backdoors on disk: every trigger comes back, and a file that lies is refused."""

from __future__ import annotations

import json
import os
import pickle
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmbd import attacks
from mmbd.attacks import Backdoor
from mmbd.attacks.clean_label import corners
from mmbd.attacks.networks import seeded
from mmbd.base.errors import Failed, Refused
from mmbd.formats.spec import METADATA_KEY
from mmbd.triggers import MAKERS, TRIGGERS, TriggerKind, files
from mmbd.triggers.generated import Generated, TriggerNetwork
from mmbd.triggers.painted import Painted
from mmbd.triggers.quantised import Quantised
from mmbd.triggers.sequence import TriggerSequence

SHAPE = (3, 16, 16)


def input_aware(shape=SHAPE) -> Generated:
    with seeded("files"):
        pattern = TriggerNetwork(shape[0], shape[0], width=4, depth=2)
        mask = TriggerNetwork(shape[0], 1, width=4, depth=2, sharp=True)
    for painter in (pattern, mask):
        painter(torch.rand(4, *shape, generator=torch.Generator().manual_seed(1)))  # statistics
        painter.eval().requires_grad_(False)
    return Generated(pattern, mask)


def lira(shape=SHAPE) -> Painted:
    return Painted(input_aware(shape).pattern, 0.1)


MADE = {
    **{
        name: partial(make, SHAPE, seed=1)
        for name, make in MAKERS.items()
        if name not in ("sound", "insertion")
    },
    "corners": lambda: corners(SHAPE),
    "faint corners": lambda: corners(SHAPE, amplitude=0.5),
    "rounded": lambda: Quantised(4, 0.0),
    "input-aware": input_aware,
    "lira": lira,
    "together": lambda: TriggerSequence(
        (attacks.badnet(SHAPE, seed=1), attacks.warp(SHAPE, seed=2), attacks.blend(SHAPE, seed=3))
    ),
}


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(7))


def written(tmp_path, trigger=None, **changes):
    trigger = attacks.blend(SHAPE, seed=0) if trigger is None else trigger
    backdoor = attacks.everywhere(trigger, [1, 3], 0, torch.tensor([5, 2, 9]), count=3)
    path = tmp_path / "trigger.safetensors"
    files.save(path, backdoor)
    return path


@pytest.mark.parametrize("name", MADE)
def test_every_trigger_comes_back(name, tmp_path):
    trigger = MADE[name]()
    protocol = {"rate": 0.1, "words": ["a", "b"], "nothing": None, "yes": True}
    backdoor = attacks.everywhere(trigger, [4, 2], 0, torch.tensor([5, 2, 9]), **protocol)
    files.save(tmp_path / "one.safetensors", backdoor)
    found = files.load(tmp_path / "one.safetensors")
    assert list(found.triggers) == [4, 2]
    assert found.targets == {4: 0, 2: 0}
    assert found.protocol == protocol
    assert found.poisoned.tolist() == [5, 2, 9]
    assert found.poisoned.dtype == torch.int64
    assert found.triggers[4] is found.triggers[2]
    assert type(found.triggers[4]) is type(trigger)
    assert torch.equal(found.triggers[4](images()), trigger(images()))
    files.save(tmp_path / "two.safetensors", found)
    assert (tmp_path / "two.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


def test_each_source_keeps_its_own_trigger_and_target(tmp_path):
    backdoor = Backdoor(
        {source: attacks.badnet(SHAPE, seed=source) for source in range(3)},
        {0: 2, 1: 0, 2: 1},
        torch.empty(0, dtype=torch.int64),
    )
    path = tmp_path / "all.safetensors"
    files.save(path, backdoor)
    found = files.load(path)
    assert found.targets == backdoor.targets
    assert len(found.poisoned) == 0
    for source, trigger in backdoor.triggers.items():
        assert torch.equal(found.triggers[source](images()), trigger(images()))


def test_sounds_have_patches_too(tmp_path):
    burst = attacks.Patch(torch.rand(1, 50) * 2 - 1, (torch.arange(50) < 9).float()[None])
    found = files.load(written(tmp_path, burst)).triggers[1]
    sounds = torch.rand(2, 1, 50)
    assert torch.equal(found(sounds), burst(sounds))


def test_what_is_not_saved(tmp_path):
    path = tmp_path / "trigger.safetensors"
    with pytest.raises(TypeError, match="cannot save a trigger of class function; known: additive"):
        files.save(path, attacks.everywhere(lambda x: x, [1], 0))
    trigger = attacks.badnet(SHAPE, seed=0)
    for value in (trigger, float("nan")):
        with pytest.raises(TypeError, match="the protocol of a backdoor must be JSON"):
            files.save(path, attacks.everywhere(trigger, [1], 0, odd=value))
    assert list(tmp_path.iterdir()) == []


def test_loading_runs_no_global_random_numbers(tmp_path):
    path = written(tmp_path, input_aware())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    files.load(path)
    assert torch.equal(torch.rand(2), expected)


def changed(tmp_path, change, trigger=None):
    """A saved file with its metadata and tensors changed."""
    path = written(tmp_path, trigger)
    tensors = load_file(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    entry = json.loads(header["__metadata__"][METADATA_KEY])
    answer = change(entry, tensors)
    text = answer if isinstance(answer, str) else json.dumps(entry)
    save_file(tensors, path, metadata={METADATA_KEY: text})
    return path


def deep(entry, tensors):
    return "[" * 100_000


def nested(entry, tensors):
    entry["triggers"][0]["parts"] = [dict(entry["triggers"][0])]


def narrow(entry, tensors):
    name = "trigger.0.pattern.middle.0.weight"
    tensors[name] = tensors[name][:2].clone()


def half(entry, tensors):
    name = "trigger.0.pattern.middle.0.weight"
    tensors[name] = tensors[name].half()


def poisoned(value):
    return lambda entry, tensors: tensors.update(poisoned=value)


def rows(*value):
    return lambda entry, tensors: entry.update(sources=list(value))


def first(**fields):
    return lambda entry, tensors: entry["triggers"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, t: "{", "is not JSON"),
        (lambda e, t: "[]", "holds no backdoor"),
        (lambda e, t: e.update(kind="model"), "holds no backdoor"),
        (lambda e, t: e.update(version=2), "version 2; this release reads 1"),
        (lambda e, t: e.pop("protocol"), "has no protocol"),
        (lambda e, t: e.update(triggers={}), "has no triggers"),
        (lambda e, t: e.update(protocol={"x": float("inf")}), "no finite number"),
        (lambda e, t: json.dumps(e).replace("0.2", "1e999"), "no finite number"),
        (deep, "is not JSON: nested too deeply"),
        (
            lambda e, t: json.dumps(e).replace('"version": 1', f'"version": {"9" * 5000}'),
            "is not JSON: a number has thousands of digits",
        ),
        (lambda e, t: e.update(version=[[1] * 99] * 99), "of version a list; this release reads 1"),
        (lambda e, t: e.update(version=10**400), "of version a huge number"),
        (first(alpha=[[1] * 99] * 99), "trigger.0.alpha must be a number, got a list"),
        (
            lambda e, t: t.update({"trigger.0.mask": t["trigger.0.mask"].to(torch.float8_e4m3fn)}),
            "trigger.0.mask holds torch.float8_e4m3fn; expected float32",
        ),
        (lambda e, t: e.update(triggers=[7]), "unknown trigger"),
        (first(alpha="x"), r"trigger.0.alpha must be a number, got 'x'"),
        (first(alpha=10**40), r"trigger.0.alpha must be a number"),
        (first(alpha=True), r"trigger.0.alpha must be a number"),
        (lambda e, t: t.pop("trigger.0.mask"), "trigger.0.mask is missing"),
        (lambda e, t: t.update({"trigger.0.mask": torch.ones(1, 2, 2)}), "must have one shape"),
        (lambda e, t: t["trigger.0.mask"].fill_(float("nan")), "not finite"),
        (lambda e, t: t.update(more=torch.ones(1)), "belong to no trigger: more"),
        (poisoned(torch.tensor([-1])), "poisoned indices"),
        (poisoned(torch.tensor([1.0])), "poisoned indices"),
        (poisoned(torch.tensor([[1]])), "poisoned indices"),
        (rows(), "sources must be rows"),
        (rows([1, 1, 0]), "sources must be rows"),
        (rows([1, 0]), "sources must be rows"),
        (rows([1, 0, "0"]), "sources must be rows"),
        (rows([10**9, 0, 0]), "sources must be rows"),
        (rows([True, 0, 0]), "sources must be rows"),
        (rows([1, 0, 0], [1, 0, 2]), "occurs twice"),
    ],
)
def test_a_file_that_lies_is_refused(change, message, tmp_path):
    path = changed(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        files.load(path)
    assert "trigger.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (MADE["warp"], lambda e, t: t.update({"trigger.0.grid": torch.ones(1, 2, 2, 3)}), "expected a grid"),
        (MADE["together"], first(parts=[]), "at least one"),
        (MADE["together"], first(parts=None), "at least one"),
        (MADE["together"], nested, "triggers of its own kind"),
        (MADE["quantised"], first(levels=2.5), "expected 2 to 256 levels, got 2.5"),
        (MADE["quantised"], first(levels=10**9), "expected 2 to 256 levels"),
        (MADE["quantised"], first(levels=None), "levels must be a number"),
        (MADE["quantised"], first(dithering=-1), "the dithering must lie in 0 to 1"),
        (lira, first(eps=2), "eps must lie in 0 to 1"),
        (lira, lambda e, t: e["triggers"][0]["painter"].update(outputs=1), "painter.up"),
        (input_aware, first(pattern={"width": 4}), "must have channels"),
        (input_aware, first(pattern=7), "must have channels"),
        (input_aware, lambda e, t: e["triggers"][0]["mask"].update(width=10**9), "each from 1 to"),
        (input_aware, lambda e, t: e["triggers"][0]["mask"].update(width=0), "each from 1 to"),
        (input_aware, lambda e, t: e["triggers"][0]["mask"].update(width="4"), "must have"),
        # A network of many gigabytes is not made before the file has shown that it holds it.
        (
            input_aware,
            lambda e, t: e["triggers"][0]["mask"].update(width=1024, depth=2),
            r"expected \(1024, 3, 3, 3\)",
        ),
        (input_aware, lambda e, t: e["triggers"][0]["mask"].update(depth=8), "is missing"),
        (input_aware, narrow, r"pattern.middle.0.weight: expected \(8, 8, 3, 3\)"),
        (input_aware, half, "got .* of torch.float16"),
        (input_aware, lambda e, t: e["triggers"][0].update(pattern=e["triggers"][0]["mask"]), "expected"),
    ],
)
def test_a_trigger_whose_parts_do_not_fit_is_refused(make, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        files.load(changed(tmp_path, change, make()))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="there is no such file"):
        files.load(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="holds no backdoor"):
        files.load(path)
    path.write_bytes(written(tmp_path).read_bytes()[:-20])
    with pytest.raises(ValueError, match="broken"):
        files.load(path)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="expected a safetensors file, found zip"):
        files.load(path)
    path.write_bytes(pickle.dumps(print))
    with pytest.raises((Refused, Failed), match=r"^a\.safetensors: "):
        files.load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Failed, match=r"^a\.safetensors: expected a regular file"):
        files.load(path)


def test_a_new_type_is_one_row(tmp_path, monkeypatch):
    from dataclasses import make_dataclass

    kind = make_dataclass(
        "Inserted", [("points", torch.Tensor), ("radius", float), ("count", int)], frozen=True
    )
    monkeypatch.setitem(TRIGGERS, "inserted", TriggerKind(kind))
    points = torch.rand(32, 3)
    found = files.load(written(tmp_path, kind(points, 0.25, 32))).triggers[1]
    assert torch.equal(found.points, points)
    assert (found.radius, found.count) == (0.25, 32)
