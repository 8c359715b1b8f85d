"""A plan: a grid of data x architecture x attack x seed, written in TOML, as a list of jobs.

    preset = "cifar10-small"                  # data, networks, training and poison counts
    seeds = [0, 1]

    [attack.faint-M]                          # optional: attacks, networks and data of one's own
    kind = "blend"
    sources = "M"
    alpha = 0.1

    [[grid]]                                  # optional: parts of the grid, one block each
    arch = ["lenet", "cnn"]
    attack = ["clean", "badnet-S", "faint-M"]

    [arch.tuned]                              # optional: a network fine-tuned from a model there is
    kind = "resnet8"
    start = "models/clean-resnet8.safetensors"

A grid names tables of the plan, or without a table presets, architectures, and attacks such as
"badnet-M" (from all other classes) and "badnet-S" (from one random class). Every name is checked
before anything is trained.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmbd import attacks, nets
from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.zoo import check
from mmbd.zoo.job import CLEAN, ArchPlan, AttackPlan, DataPlan, Job
from mmbd.zoo.presets import PRESETS, Preset

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def read(path: str | Path, *, device: str | None = None) -> list[Job]:
    """The jobs of the plan at `path`; `device` takes precedence over the plan's.

    Raises:
        Failed: not a file, not TOML, or something in it is unknown or of the wrong kind; the
            message names it. A ValueError too.
        FileNotFoundError: nothing there.
    """
    text = reading.text(path)
    try:
        return jobs(tomllib.loads(text) | ({} if device is None else {"device": device}))
    except RecursionError:
        raise Failed(f"{reading.named(path)}: the TOML is nested too deeply") from None
    except ValueError as error:
        raise Failed(f"{reading.named(path)}: {reading.said(error)}") from error


def jobs(raw: Mapping[str, Any]) -> list[Job]:
    """The jobs of a plan that has been parsed already; see `read`."""
    known = ("preset", "device", "seeds", "recipe", "data", "arch", "attack", "grid")
    check.keys(raw, known, "the plan")
    preset = None if raw.get("preset") is None else _preset(raw["preset"])
    check.recipe(check.table(raw, "recipe", "the plan"), "[recipe]")
    device = check.text(raw.get("device", "cpu"), "device")
    blocks = raw.get("grid", [{}])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ValueError("write every part of the grid as a block of its own, [[grid]]")
    found: dict[str, Job] = {}
    for block in blocks:
        for job in _block(raw, block, preset, device):
            if found.setdefault(job.name, job) != job:
                raise ValueError(f"two different models would be named {job.name!r}: rename a part")
    return list(found.values())


def _block(
    raw: Mapping[str, Any], block: Mapping[str, Any], preset: Preset | None, device: str
) -> Iterable[Job]:
    check.keys(block, ("data", "arch", "attack", "seeds"), "[[grid]]")
    seeds = check.numbers(block.get("seeds", raw.get("seeds", [0])), "seeds")
    chosen = {kind: _names(raw, block, kind) for kind in ("data", "arch", "attack")}
    if not chosen["data"]:
        if preset is None:
            raise ValueError("the plan names no data: give a preset, or a [data.NAME] table")
        chosen["data"] = (str(raw["preset"]),)
    for data_name in chosen["data"]:
        data, own, recipe = _data(raw, data_name, preset)
        networks = chosen["arch"] or tuple(own.arch if own else ())
        kinds = chosen["attack"] or (CLEAN, *(f"{kind}-M" for kind in (own.attack if own else ())))
        if not networks:
            raise ValueError("the plan names no network: give arch in [[grid]], or [arch.NAME]")
        for arch_name, attack_name in itertools.product(networks, kinds):
            arch, arch_recipe, arch_preset = _arch(raw, arch_name, own)
            attack, attack_recipe = _attack(raw, attack_name, own)
            merged = {
                **(own.recipe if own else {}),
                **arch_preset,
                **raw.get("recipe", {}),
                **recipe,
                **arch_recipe,
                **attack_recipe,
            }
            for seed in seeds:
                name = f"{data.name}-{arch.name}-{attack.name}-{seed}"
                yield Job(
                    name,
                    data,
                    arch,
                    attack,
                    check.recipe(merged, f"the recipe of {name}"),
                    seed,
                    _draw(name),
                    device,
                )


def _names(raw: Mapping[str, Any], block: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The names that a block of the grid lists, or else all that the plan has tables for."""
    declared = check.table(raw, kind, "the plan")
    given = block.get(kind, list(declared))
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{kind} in [[grid]]: expected a name or a list of names, got {given!r}")
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{kind} {name!r}: names are of letters, digits, dots, + and -")
    return tuple(names)


def _data(
    raw: Mapping[str, Any], name: str, preset: Preset | None
) -> tuple[DataPlan, Preset | None, Mapping[str, Any]]:
    """A data set, the preset that stands behind it, and its own part of the recipe."""
    tables, where = check.table(raw, "data", "the plan"), f"[data.{name}]"
    if name not in tables:
        if name not in PRESETS:
            raise check.unknown("data set", name, [*tables, *PRESETS])
        return DataPlan(name, **PRESETS[name].data), PRESETS[name], {}
    table = dict(check.table(tables, name, "[data]"))
    recipe = check.recipe_table(table, where)
    own = _preset(table.pop("preset")) if "preset" in table else preset
    fields = [key for key in DataPlan.__dataclass_fields__ if key != "name"]
    check.keys(table, [*fields, "preset", "recipe"], where)
    values = {**(own.data if own else {}), **table}
    for key in ("mean", "std"):
        if type(values.get(key)) in (int, float):
            values[key] = [values[key]]
    for key in ("train", "test"):
        if key not in values:
            raise ValueError(f"{where} lacks {key}: a Parquet or .npz file, or a folder of images")
    plan = check.build(DataPlan, {"name": name, **values}, where)
    if min(plan.std or (1,)) <= 0:
        raise ValueError(f"std in {where}: expected more than 0, got {list(plan.std or ())}")
    return plan, own, recipe


def _arch(
    raw: Mapping[str, Any], name: str, preset: Preset | None
) -> tuple[ArchPlan, Mapping[str, Any], Mapping[str, Any]]:
    """A network, its own part of the recipe, and the preset's recipe for its kind."""
    tables, where = check.table(raw, "arch", "the plan"), f"[arch.{name}]"
    if name not in tables and name not in nets.ARCHITECTURES:
        raise check.unknown("architecture", name, [*tables, *nets.ARCHITECTURES])
    table = dict(check.table(tables, name, "[arch]"))
    recipe = check.recipe_table(table, where)
    kind = check.text(table.pop("kind", name), f"kind in {where}")
    if kind not in nets.ARCHITECTURES:
        raise check.unknown("architecture", kind, nets.ARCHITECTURES, where if kind != name else "")
    private = table.pop("private", None)
    if private is not None:
        private = check.private(private, where)
    start = table.pop("start", None)
    if start is not None and not check.text(start, f"start in {where}").endswith(".safetensors"):
        raise ValueError(f"start in {where}: expected a model's .safetensors file, got {start!r}")
    known = [*check.parameters(nets.ARCHITECTURES[kind].make), "kind", "recipe", "private", "start"]
    check.keys(table, known, where, "argument")
    # A network with arguments of its own has nothing of the preset's but the recipe.
    usual = dict(preset.arch.get(kind, {}) if preset else {})
    usual_recipe = usual.pop("recipe", {})
    return ArchPlan(name, kind, check.plain(table or usual), private, start), recipe, usual_recipe


def _attack(raw: Mapping[str, Any], name: str, preset: Preset | None) -> tuple[AttackPlan, Mapping[str, Any]]:
    """An attack with the preset's options for its kind, and its own part of the recipe."""
    tables, where = check.table(raw, "attack", "the plan"), f"[attack.{name}]"
    kinds = [CLEAN, *attacks.ATTACKS, *attacks.HARD_CLEAN]
    table = dict(check.table(tables, name, "[attack]"))
    stem, _, letter = name.rpartition("-")
    implied = {"kind": stem, "sources": letter} if letter in ("S", "M") else {"kind": name}
    if name not in tables and implied["kind"] not in kinds:
        raise check.unknown("attack", name, [*tables, *kinds, *(f"{kind}-M" for kind in kinds)])
    recipe = check.recipe_table(table, where)
    table = {**(implied if implied["kind"] in kinds else {}), **table}
    kind = check.text(table.pop("kind", name), f"kind in {where}")
    if kind not in kinds:
        raise check.unknown("attack", kind, kinds, where if kind != name else "")
    usual = dict(preset.attack.get(kind, {}) if preset else {})
    many = usual.pop("sources", "M")  # what this preset means by many sources
    sources = check.sources(table.pop("sources", "M"), where)
    target = table.pop("target", None)
    if target is not None and type(target) not in (int, str):
        raise ValueError(f"target in {where}: expected a class by number or name, got {target!r}")
    known = check.options(kind)
    check.keys(table, [*known, "kind", "sources", "target", "recipe"], where)
    check.kinds(table, known, where)
    if sources == "S" and preset and preset.single and "count" in usual:
        usual["count"] = preset.single
    if {"count", "rate"} & set(table):  # two ways to say one thing
        usual = {key: value for key, value in usual.items() if key not in ("count", "rate")}
    options = check.plain({**usual, **table})
    return AttackPlan(name, kind, many if sources == "M" else sources, target, options), recipe


def _preset(name: object) -> Preset:
    if not isinstance(name, str) or name not in PRESETS:
        raise check.unknown("preset", str(name), PRESETS)
    return PRESETS[name]


def _draw(name: str) -> int:
    """32 bits that depend on the model's name alone, so that every model gets its own trigger."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
