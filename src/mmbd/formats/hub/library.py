"""Networks of transformers for a folder of the hub: the library's own code, and no code of the folder.

Of `config.json` only entries that the library's configuration of this kind of network has are taken, never
those that say where to fetch kernels, weights or code. The network is built without memory first, within
what the tensors of the folder allow, and then filled with exactly these tensors by the library's own map of
old names to new ones.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import WORDS
from mmbd.formats.networks import architecture
from mmbd.formats.networks.factories import said
from mmbd.formats.networks.shim import torchvision_usable
from mmbd.formats.spec import MAX_CLASSES

INSTALL = (
    "transformers is needed to read this folder: pip install 'mmbd[hf]'; or scan the weights alone with "
    "--arch and --input"
)
KINDS = {"image": "MODEL_FOR_IMAGE_CLASSIFICATION", "sound": "MODEL_FOR_AUDIO_CLASSIFICATION"}
ARGUMENTS = ("pixel_values", "input_values", "input_features", "inputs")
# Of the entries that all configurations share, those that a classifier is built by.
SHARED = ("id2label", "num_labels")
# Entries by which a folder could have the library fetch or choose code and weights, at any depth.
LEFT_OUT = (
    "attn_implementation",
    "backbone",
    "backbone_kwargs",
    "distributed_config",
    "dtype",
    "experts_implementation",
    "fusion_config",
    "kernel_config",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "torchscript",
    "transformers_weights",
    "use_kernels",
    "use_pretrained_backbone",
    "use_timm_backbone",
)
# Buffers that releases of the library keep in files or do not; they follow from the configuration.
FIXED = ("num_batches_tracked", "position_ids", "relative_position_index", "relative_coords_table")
MAX_LAYERS = 64
ROOM = 1 << 24


class Kind(NamedTuple):
    """What a folder says its network is: "image" or "sound", the class in the library, its name."""

    inputs: str
    make: Any
    name: str


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The library's class that `architectures` names, if it is a classifier of images or sounds.

    Raises:
        Refused: another class, a kind of network that the library does not know, quantised weights.
        Failed: the library is missing or cannot be used, or no such words.
    """
    kind, named = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str):
        raise Failed(f"config.json has no model_type, which says what network it is. {WORDS}")
    if config.get("quantization_config"):
        raise Refused("the weights are quantised, which is not read: save them as float32 and scan those")
    known = _classes(kind)
    if not known:
        raise Refused(
            f"config.json says the network is {clean_text(kind)!r}, which transformers has no classifier of "
            "images or sounds for: convert it to ONNX where you trust it, and scan that"
        )
    first = named[0] if isinstance(named, list) and named else None
    if first is None and len(known) == 1:
        (first,) = known
    if not isinstance(first, str) or first not in known:
        raise Refused(
            f"config.json says the network is {clean_text(first)!r}, expected a classifier: {listed(known)}. "
            "Scan a model with a head for classes"
        )
    with quiet():
        transformers = _imported()
        try:
            return Kind(known[first], getattr(transformers, first), f"{first} (transformers)")
        except Exception as error:  # of a package that it needs
            raise Failed(f"transformers cannot give {first}: {said(error)}") from error


def _classes(kind: str) -> dict[str, str]:
    """The classifiers of a kind of network, and what each takes."""
    _imported()
    from transformers.models.auto import modeling_auto  # pyright: ignore[reportMissingImports]

    found: dict[str, str] = {}
    for inputs, table in KINDS.items():
        names = getattr(modeling_auto, f"{table}_MAPPING_NAMES").get(kind, ())
        found |= dict.fromkeys((names,) if isinstance(names, str) else names, inputs)
    return found


def _imported() -> Any:
    """The library; where a torchvision without its operators is installed, with the names of those."""
    try:
        torchvision_usable()
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Failed(INSTALL) from None
    return transformers


def configured(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Any, tuple[str, ...]]:
    """The library's configuration from `config.json`, and notes on what was left out.

    Raises:
        Failed: what the library does not take, or layers and classes beyond what the tensors allow.
    """
    transformers = _imported()
    kind = str(config.get("model_type"))
    bounded(config, max(MAX_LAYERS, len(tensors)))
    with quiet():
        base = transformers.AutoConfig.for_model(kind)
        own = set(inspect.signature(type(base).__init__).parameters) | set(base.attribute_map)
        common = getattr(transformers, "PreTrainedConfig", None) or transformers.PretrainedConfig
        shared = set(inspect.signature(common.__init__).parameters) - set(SHARED)
        taken = {key: value for key, value in config.items() if key in (own - shared) | set(SHARED)}
        if "id2label" in taken:
            taken.pop("num_labels", None)
        # What it lacks on its own is of later or earlier releases, and would not be read.
        usual = set(base.to_dict()) | shared | {*LEFT_OUT, "architectures", "label2id", "torch_dtype"}
        others = [key for key in config if key not in taken and key not in usual and key[:1] != "_"]
        try:
            made = transformers.AutoConfig.for_model(kind, **_cleaned(taken))
        except Exception as error:  # whatever the file says
            raise Failed(f"config.json is not one of {kind!r}: {said(error)}. {WORDS}") from error
    notes = (f"entries of config.json that {type(made).__name__} does not have: {listed(others)}",)
    return made, notes if others else ()


def _cleaned(value: Any) -> Any:
    """Without the entries of LEFT_OUT and private ones, at any depth."""
    if isinstance(value, Mapping):
        return {
            key: _cleaned(each)
            for key, each in value.items()
            if key not in LEFT_OUT and not key.startswith("_")
        }
    return [_cleaned(each) for each in value] if isinstance(value, list) else value


def bounded(config: Mapping[str, Any], most: int) -> None:
    """Failed where a configuration asks for more layers than `most`, or for too many classes."""
    for key, value in config.items():
        if isinstance(value, Mapping) and key not in ("id2label", "label2id"):
            bounded(value, most)
        layers = any(word in key for word in ("layers", "depth", "blocks", "stages"))
        counts = [each for each in (value if isinstance(value, list) else [value]) if type(each) is int]
        if layers and (sum(counts) > most or len(counts) > most):
            raise Failed(
                f"config.json says {clean_text(key)} are {listed(map(str, counts))}, but the folder holds "
                f"too few tensors for that. {WORDS}"
            )
    said_classes = (config.get("num_labels"), len(config.get("id2label") or ()))
    if any(type(each) is int and each > MAX_CLASSES for each in said_classes):
        raise Failed(f"config.json has more than {MAX_CLASSES:,} classes. {WORDS}")


def network(kind: Kind, config: Any, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network with these tensors in it, what it calls its inputs, and notes.

    Raises:
        Failed: it cannot be built within what the tensors allow, or they are not exactly its own.
    """
    twice = {f"{key}{more}": tensor for key, tensor in tensors.items() for more in ("", "\0")}
    with quiet():
        with torch.device("meta"):
            empty = architecture.build(partial(kind.make, config), kind.name, within=twice)
        held = sum(buffer.numel() for buffer in empty.buffers())
        if held > ROOM + 4 * sum(tensor.numel() for tensor in tensors.values()):
            raise Failed(f"{kind.name} would hold {held:,} numbers beside its weights: too many. {WORDS}")
        argument = getattr(empty, "main_input_name", None)
        if argument not in ARGUMENTS:
            raise Refused(f"{kind.name} takes {clean_text(argument)!r}, which are no images and no sounds")
        del empty
        wide = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        try:
            with torch.random.fork_rng(devices=[]):
                filled, report = kind.make.from_pretrained(
                    None,
                    config=config,
                    state_dict=wide,
                    output_loading_info=True,
                    local_files_only=True,
                    ignore_mismatched_sizes=True,  # they are in the report, and an error below
                )
        except Exception as error:  # of tensors of any kind
            raise Failed(f"the weights do not fit {kind.name}: {said(error)}. {WORDS}") from error
    faults = [
        f"{word}: {listed(found)}"
        for word, found in (
            ("missing", _names(report.get("missing_keys"))),
            ("unexpected", _names(report.get("unexpected_keys"))),
            ("of another shape", _names(report.get("mismatched_keys"))),
            ("in error", _names(report.get("error_msgs"))),
        )
        if found
    ]
    if faults:
        raise Failed(f"the weights do not fit {kind.name}; {'; '.join(faults)}. {WORDS}")
    narrow = sorted({str(value.dtype) for key, value in tensors.items() if wide[key].dtype != value.dtype})
    notes = [f"weights kept as {listed(narrow)} are used as torch.float32"] if narrow else []
    if not all(bool(torch.isfinite(value).all()) for value in wide.values() if value.is_floating_point()):
        notes.append("some weights are NaN or infinite")
    return filled.eval(), str(argument), tuple(notes)


def _names(keys: Any) -> list[str]:
    """Names of tensors from the library's report, without those that follow from the configuration."""
    names = sorted(str(key[0] if isinstance(key, tuple) and key else key) for key in keys or ())
    return [name for name in names if name.rpartition(".")[2] not in FIXED]


def class_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names in `id2label`; None where there are none but numbers.

    Raises:
        Failed: its numbers are not those of classes.
    """
    labels: Any = config.get("id2label")
    if labels is None:
        return None
    if not isinstance(labels, Mapping) or set(labels) != {str(number) for number in range(len(labels))}:
        raise Failed(f"config.json has an id2label that does not number its classes from 0. {WORDS}")
    names: Sequence[str] = [str(labels[str(number)]) for number in range(len(labels))]
    if all(name == f"LABEL_{number}" for number, name in enumerate(names)):
        return None
    return tuple(names)


@contextmanager
def quiet() -> Generator[None]:
    """No bars, tables and warnings of the library inside; it logs afterwards as it did before."""
    from mmbd.base.extras import require

    try:
        logging = require("transformers.utils.logging", extra="hf")
    except ImportError:
        raise Failed(INSTALL) from None
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
