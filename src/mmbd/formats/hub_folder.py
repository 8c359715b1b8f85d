"""A folder of the Hugging Face hub: `config.json` says which network it is, and the weights lie beside it.

Two libraries write such folders: transformers (`model_type`, `architectures`) and timm (`architecture`,
`pretrained_cfg`). Their code builds the network; code that comes with the folder is never looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats import shards
from mmbd.formats.beside import Beside
from mmbd.formats.format import Contents, Graph
from mmbd.formats.hub import documents, inputs
from mmbd.formats.hub.weights import tensors_in

if TYPE_CHECKING:
    from torch import Tensor

    from mmbd.formats.options import LoadOptions

FILE = "config.json"
# In the order in which the libraries themselves look for them.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Two pairs of entries: all of one pair are in a `config.json` of a library.
MARKS = ((b'"model_type"', b'"architectures"'), (b'"architecture"', b'"pretrained_cfg"'))


def recognise(head: bytes) -> bool:
    """JSON text with the entries of either library."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and any(
        all(mark in head for mark in marks) for marks in MARKS
    )


def read(data: bytes | bytearray, beside: Beside) -> Contents:
    """What `config.json` and `preprocessor_config.json` say, and the tensors of the weights beside them.

    Raises:
        Refused: the network is described by code in the folder, or the weights are a program.
        Failed: no weights, or anything that is broken; names the file.
    """
    config = documents.parse(data, FILE)
    if "auto_map" in config or "custom_pipelines" in config:
        raise Refused(
            f"the network is described by code of the folder's own ({_code(config)}), which is not run. "
            "Where you trust it, convert the model to ONNX, or give the code yourself: --arch file.py:factory"
        )
    named = next((name for name in WEIGHTS if beside.optional(name) is not None), None)
    if named is None:
        raise Failed(f"there are no weights beside {FILE}, expected {' or '.join(WEIGHTS)}: fetch them, too")
    tensors, kinds = _weights(named, beside)
    more = beside.optional(inputs.FILE)
    said = None if more is None else documents.parse(more, inputs.FILE)
    notes = [f"the folder's weights are {named}"]
    held = {"config": config, "preprocessor": said, "weights": tensors}
    return Contents(held, f"Hugging Face folder ({kinds})", None, tuple(notes))


def build(contents: Contents, options: LoadOptions) -> Graph:
    """The network of the library with the folder's weights in it.

    Raises:
        Refused: no classifier that the libraries know.
        Failed: the library is missing, or the weights are not exactly the network's.
    """
    config: dict[str, Any] = contents.value["config"]
    tensors: dict[str, Tensor] = contents.value["weights"]
    if "pretrained_cfg" in config and "architectures" not in config:
        from mmbd.formats.hub import image_models

        return image_models.graph(config, tensors)
    from mmbd.formats.hub import library, sounds, wrapped
    from mmbd.formats.networks.selection import require_distinct

    require_distinct(tensors)
    kind = library.kind_of(config)
    names = library.class_names(config)
    made, left = library.configured(config, tensors)
    full = {**config, **made.to_dict(), "model_type": config["model_type"]}
    said, prepare = contents.value["preprocessor"], None
    if kind.inputs == "sound":
        known, prepare = sounds.sounds(said, full)
    else:
        known = inputs.images(said, {**_vision(full), **full})
    network, argument, notes = library.network(kind, made, tensors)
    return Graph(
        wrapped.Logits(network, argument, prepare),
        kind.name,
        known.shape,
        known.bounds,
        known.mean,
        known.std,
        names,
        (*known.notes, *notes, *left),
    )


def _vision(config: dict[str, Any]) -> dict[str, Any]:
    """The part for images in the configuration of a network for images and texts."""
    inside = config.get("vision_config")
    return inside if isinstance(inside, dict) else {}


def _weights(name: str, beside: Beside) -> tuple[dict[str, Tensor], str]:
    if name.endswith(".json"):
        found, _, kinds = shards.tensors(beside.read(name), beside, name)
        return found, f"sharded: {', '.join(kinds)}"
    try:
        held = tensors_in(beside.read(name))
    except (Failed, Refused) as error:
        raise type(error)(f"{name}: {error}") from error
    return dict(held.value), held.format


def _code(config: dict[str, Any]) -> str:
    """The names of the code that a configuration asks for."""
    asked = config.get("auto_map")
    named = asked.values() if isinstance(asked, dict) else [asked or "custom_pipelines"]
    return clean_text(listed(map(str, named)), 300)
