"""Folders of the hub that timm wrote: `architecture`, `num_classes`, `model_args` and `pretrained_cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import WORDS
from mmbd.formats.format import Graph
from mmbd.formats.hub.documents import numbers, whole
from mmbd.formats.networks import architecture, libraries
from mmbd.formats.networks.envelopes import StateDict
from mmbd.formats.networks.network import within_file
from mmbd.formats.spec import MAX_CLASSES

# What `model_args` may say of a network; the rest of timm's arguments include places to load files from.
ARGUMENTS = ("num_classes", "in_chans", "global_pool", "img_size")
MAX_SIDE = 4096


def graph(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Graph:
    """The network that timm has by this name, with the folder's tensors in it.

    Raises:
        Refused: timm knows no such network.
        Failed: timm is missing, or the tensors are not exactly the network's.
    """
    named = config.get("architecture")
    timm = libraries.timm()
    if not isinstance(named, str) or not named.isidentifier() or not timm.is_model(named):
        raise Refused(
            f"config.json says the network is {clean_text(named)!r}, which timm {timm.__version__} does not "
            "have: convert it to ONNX where you trust it, and scan that"
        )
    cfg = config["pretrained_cfg"]
    if not isinstance(cfg, dict):
        raise Failed(f"config.json has a pretrained_cfg that is none. {WORDS}")
    classes = whole(config.get("num_classes", cfg.get("num_classes")), 2)
    if classes is None or classes > MAX_CLASSES:
        raise Failed(f"config.json does not say how many classes there are (2 to {MAX_CLASSES:,}). {WORDS}")
    arguments: dict[str, Any] = {"num_classes": classes}
    notes: list[str] = []
    said = config.get("model_args")
    for key, value in (said if isinstance(said, dict) else {}).items():
        if key not in ARGUMENTS or not isinstance(value, int | str):
            raise Failed(
                f"config.json gives the network {clean_text(key)} = {clean_text(value)}, which is not taken "
                f"from a file. Scan the weights with --arch timm:{named} and --arch-arg"
            )
        arguments[key] = value
    name = architecture.label(f"timm:{named}", {**arguments})
    make = partial(timm.create_model, named, pretrained=False, **arguments)
    with libraries.unmoved():
        built = within_file(make, name, [StateDict(("",), tensors)])
    values = [numbers(cfg.get(key)) for key in ("mean", "std")]
    if None in values:
        notes.append("assumed: no normalisation, as config.json does not say; give --mean and --std")
        values = [None, None]
    mean, std = values
    if std is not None and min(std) <= 0:
        raise Failed(f"config.json has a std of {listed(map(str, std))}, expected numbers above 0. {WORDS}")
    return Graph(
        built.module, name, _shape(cfg), None, mean, std, _labels(config, classes), (*notes, *built.notes)
    )


def _shape(cfg: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The shape of one input, (channels, height, width); None where it is left open."""
    said = cfg.get("input_size")
    lengths = [whole(each) for each in said] if isinstance(said, list) else []
    if len(lengths) != 3 or None in lengths or max(each or 0 for each in lengths) > MAX_SIDE:
        return None
    return tuple(each or 0 for each in lengths)


def _labels(config: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    said = config.get("label_names")
    if not isinstance(said, list) or len(said) != classes or not all(isinstance(each, str) for each in said):
        return None
    return tuple(said)
