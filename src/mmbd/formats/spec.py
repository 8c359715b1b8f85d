"""What has to be known about a network besides its weights; files of `mmbd` carry it themselves.

It lives as JSON in the `mmbd` entry of the safetensors metadata. Reading it runs nothing: only
architectures built into `mmbd.nets` can be named, and every value is checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmbd.base.writing import whole
from mmbd.formats import activation_bounds
from mmbd.formats.activation_bounds import ActivationBounds
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points

METADATA_KEY = "mmbd"
VERSION = 1
LARGEST = 1e30  # of any number in the metadata; also keeps NaN and infinity out
# Limits on the arguments of an architecture: no network in use has so many layers or so wide ones.
MAX_ARGUMENTS = 64
MAX_WHOLE = 1 << 30
MAX_TEXT = 200
MAX_DIMENSIONS = 16
MAX_CLASSES = 50_000


@dataclass(frozen=True)
class Spec:
    """A built-in architecture with its arguments, and the inputs it expects.

    `bounds` are the ends of the raw input range (an image's 0 and 1); `mean` and `std` have one
    value a channel and are applied inside, (x - mean) / std. `domain` is "box", or for point clouds
    the region that `points.Points` knows, "cube" or "ball", of the radius that `bounds` give.
    `activation_bounds` say which activations the network keeps within bounds, if it does.
    """

    arch: str
    input_shape: tuple[int, ...]
    classes: int
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bounds: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    domain: str = "box"
    activation_bounds: tuple[ActivationBounds, ...] = ()

    @classmethod
    def of(cls, classifier: Classifier, arch: str, arguments: Mapping[str, Any] | None = None) -> Spec:
        """What a file of this classifier says, whose network is `arch` with `arguments`.

        Raises:
            ValueError: its inputs are of a kind that files have no words for.
        """
        domain, bounds = classifier.domain, classifier.domain.bounds
        uniform = isinstance(domain, Box) and all(
            bool((end == end.flatten()[0]).all()) for end in (domain.low, domain.high)
        )
        if bounds is None or not (uniform or isinstance(domain, Points)):
            raise ValueError(
                f"a file can say that inputs are in a box with one lowest and one highest value, "
                f"in a cube or in a ball, but not that they are in {domain!r}"
            )
        numbers = tuple(str(label) for label in range(classifier.classes))
        return cls(
            arch=arch,
            input_shape=domain.shape,
            classes=classifier.classes,
            arguments=arguments or {},
            bounds=bounds,
            mean=classifier.mean,
            std=classifier.std,
            class_names=None if classifier.class_names == numbers else classifier.class_names,
            domain=domain.region if isinstance(domain, Points) else "box",
        )

    def network(self) -> nn.Module:
        """The architecture with random weights; ValueError when the arguments make none."""
        from mmbd import nets

        try:
            return nets.build(self.arch, classes=self.classes, input_shape=self.input_shape, **self.arguments)
        except ValueError:
            raise
        except Exception as error:  # arguments of any kind: the file says what it likes
            raise ValueError(
                f"{self.arch} cannot be built for input {self.input_shape} with "
                f"{dict(self.arguments)}: {error}"
            ) from error

    def to_json(self) -> str:
        fields = asdict(self)
        for name in ("domain", "activation_bounds"):
            if fields[name] == type(self).__dataclass_fields__[name].default:
                del fields[name]  # earlier releases refuse fields that they do not know
        return json.dumps({"version": VERSION, **fields}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Parse and check; ValueError says which field is wrong."""
        try:
            raw = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"the mmbd metadata is not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ValueError("the mmbd metadata is not a JSON object")
        version = raw.pop("version", None)
        if version != VERSION:
            raise ValueError(
                f"mmbd metadata of version {_short(version)}; this release reads {VERSION}: see "
                "whether a newer one does"
            )
        if "limits" in raw and "activation_bounds" not in raw:
            raw["activation_bounds"] = raw.pop("limits")  # as earlier releases called them
        unknown = sorted(set(raw) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r} in the mmbd metadata")
        shape = _numbers(raw, "input_shape", whole=True) or ()
        bounds = _numbers(raw, "bounds") or (0.0, 1.0)
        classes, arch = raw.get("classes"), raw.get("arch")
        arguments, names = raw.get("arguments", {}), raw.get("class_names")
        if not isinstance(arch, str) or not isinstance(arguments, dict):
            raise ValueError("mmbd metadata: arch must be a string and arguments an object")
        if not isinstance(classes, int) or not 2 <= classes <= MAX_CLASSES:
            raise ValueError(f"mmbd metadata: classes must be 2 to {MAX_CLASSES:,}, got {_short(classes)}")
        if not 1 <= len(shape) <= MAX_DIMENSIONS or min(shape) < 1 or math.prod(shape) > 100_000_000:
            raise ValueError(f"mmbd metadata: input_shape {_short(raw.get('input_shape'))} is no shape")
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise ValueError(f"mmbd metadata: bounds {raw.get('bounds')!r} are not low < high")
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError(f"mmbd metadata: {len(arguments):,} arguments, expected at most {MAX_ARGUMENTS}")
        for key, value in arguments.items():
            if key in ("classes", "input_shape") or not _simple(value):
                raise ValueError(
                    f"mmbd metadata: argument {_short(key)} must be a number, a string or a list of such"
                )
            if excess := _excess(value):
                raise ValueError(f"mmbd metadata: argument {_short(key)} {excess}")
        if names is not None and (
            not isinstance(names, list) or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError("mmbd metadata: class_names must be a list of strings")
        domain = raw.get("domain", "box")
        if domain not in ("box", "cube", "ball"):
            raise ValueError(f"mmbd metadata: domain must be box, cube or ball, got {domain!r}")
        return cls(
            arch=arch,
            input_shape=tuple(int(length) for length in shape),
            classes=classes,
            arguments={
                key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()
            },
            bounds=(bounds[0], bounds[1]),
            mean=_numbers(raw, "mean"),
            std=_numbers(raw, "std"),
            class_names=None if names is None else tuple(names),
            domain=domain,
            activation_bounds=activation_bounds.entries(raw.get("activation_bounds", [])),
        )


def _numbers(raw: Mapping[str, Any], key: str, whole: bool = False) -> tuple[float, ...] | None:
    values = raw.get(key)
    if values is None:
        return None
    kinds = int if whole else (int, float)
    if not isinstance(values, list) or not all(
        isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < LARGEST for value in values
    ):
        raise ValueError(f"mmbd metadata: {key} must be a list of finite numbers, got {values!r}")
    return tuple(values)


def _simple(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(
        isinstance(item, str | bool) or (isinstance(item, int | float) and abs(item) < LARGEST)
        for item in items
    )


def _excess(value: Any) -> str:
    """Why an argument is larger than any network needs; "" where it is not."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ARGUMENTS:
        return f"is a list of {len(items):,} values, expected at most {MAX_ARGUMENTS}"
    if any(isinstance(item, int) and abs(item) > MAX_WHOLE for item in items):
        return f"has a whole number beyond {MAX_WHOLE:,}"
    if any(isinstance(item, str) and len(item) > MAX_TEXT for item in items):
        return f"has a text of more than {MAX_TEXT} characters"
    return ""


def _short(value: Any) -> str:
    """A value from the file, shortened for a message; Python cannot print the longest whole numbers."""
    try:
        text = repr(value)
    except ValueError:
        return "a whole number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def save(path: str | Path, network: nn.Module, spec: Spec) -> None:
    """Write weights and spec to a safetensors file, whole or not at all; bounds go along."""
    with whole(path, force=True) as file:
        file.write(as_bytes(network, spec))


def as_bytes(network: nn.Module, spec: Spec) -> bytes:
    """The content of the file that `save` writes."""
    from safetensors.torch import save as to_bytes

    network, entries, bounds = activation_bounds.apart(network)
    state = {**network.state_dict(), **bounds}
    tensors = unshared(state)
    text = replace(spec, activation_bounds=entries).to_json()
    return to_bytes(tensors, metadata={METADATA_KEY: text})


def unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, contiguous and each in memory of its own, as safetensors wants them.

    Tied weights are one tensor under several names: each name gets a copy, and whoever loads them
    into the same network, where they are tied, has them as they were.
    """
    made: dict[str, Tensor] = {}
    met: set[int] = set()
    for name, value in state.items():
        value = value.detach().contiguous()
        memory = value.untyped_storage()
        if memory.data_ptr() in met or memory.nbytes() != value.nbytes:
            value = value.clone()
            memory = value.untyped_storage()
        met.add(memory.data_ptr())
        made[name] = value
    return made
