"""A trained meta-classifier: what judges models, and its file. Reading one runs nothing.

The file is safetensors: its tensors are those of `Parts` and the logits of the shadow models that
were held out; everything else is JSON in the `mmbd` metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.reading import brief
from mmbd.base.text import clean_text, listed
from mmbd.base.writing import whole
from mmbd.detectors.meta.classifier import Parts, auc, best_threshold
from mmbd.formats import own_files
from mmbd.formats.spec import METADATA_KEY, unshared

VERSION = 1
KIND = "meta-classifier"
SCORES = ("clean", "jumbo")
MOST_FACTS, MOST_TEXT = 32, 200
LARGEST = 1e30


@dataclass(frozen=True, eq=False)
class Meta:
    """Meta-classifiers for models of one input shape and number of classes; what `shadow_models=` takes.

    Args:
        parts: the queries and weights of all repeats.
        bounds: the lowest and the highest value that inputs of the shadow models have.
        standardise: whether a model's logits are standardised first.
        clean, jumbo: (n,) the mean logits of the shadow models that were held out.
        shadows: what it was trained with, JSON-ready.
    """

    parts: Parts
    bounds: tuple[float, float]
    standardise: bool
    clean: Tensor
    jumbo: Tensor
    shadows: Mapping[str, Any]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.parts.queries.shape[2:])

    @property
    def classes(self) -> int:
        """How many classes a model must have."""
        return self.parts.hidden_weight.shape[2] // self.parts.queries.shape[1]

    @property
    def auc(self) -> float:
        """How well it tells the held-out shadow models apart: 0.5 is chance."""
        return float(auc(self.clean, self.jumbo))

    @property
    def threshold(self) -> float:
        """The one that tells the held-out shadow models apart best."""
        return best_threshold(self.clean, self.jumbo)

    @property
    def median(self) -> float:
        """The median of all held-out logits: the threshold of the authors' script."""
        return float(torch.cat((self.clean, self.jumbo)).double().quantile(0.5))

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write it to one file, whole or not at all; FileExistsError where there is one, without `force`."""
        from safetensors.torch import save

        entry = {
            "version": VERSION,
            "kind": KIND,
            "bounds": self.bounds,
            "standardise": self.standardise,
            "shadows": dict(self.shadows),
        }
        tensors = self.parts.tensors() | {"clean": self.clean, "jumbo": self.jumbo}
        text = json.dumps(entry, allow_nan=False)
        with whole(path, force=force) as file:
            file.write(save(unshared(tensors), metadata={METADATA_KEY: text}))

    @classmethod
    def load(cls, path: str | Path) -> Meta:
        """Read a file that `save` wrote.

        Raises:
            Failed: nothing there, not such a file, or anything in it that does not fit.
            Refused: a file of programs. Both are ValueErrors.
        """
        path = Path(path)
        try:
            found = own_files.contents(path)
            return _meta(_entry(found.metadata), dict(found.value))
        except (Failed, Refused) as error:
            raise type(error)(f"{clean_text(path.name)}: {error}") from error


def _entry(text: str | None) -> dict[str, Any]:
    entry = own_files.metadata(text or None)
    if not isinstance(entry, dict) or entry.get("kind") != KIND:
        raise Failed("the file holds no meta-classifier: make one with mmbd shadows")
    if entry.get("version") != VERSION:
        raise Failed(
            f"a meta-classifier of version {brief(entry.get('version'))}; this release reads {VERSION}"
        )
    bounds, shadows = entry.get("bounds"), entry.get("shadows")
    if (
        not isinstance(bounds, list)
        or len(bounds) != 2
        or not all(type(end) in (int, float) for end in bounds)
    ):
        raise Failed("the bounds of a meta-classifier must be two numbers")
    if not -LARGEST < bounds[0] < bounds[1] < LARGEST:
        raise Failed("the bounds of a meta-classifier must be two numbers, the lower one first")
    if not isinstance(entry.get("standardise"), bool):
        raise Failed("standardise of a meta-classifier must be true or false")
    if not isinstance(shadows, dict) or len(shadows) > MOST_FACTS or not all(map(_plain, shadows.items())):
        raise Failed("what the meta-classifier was trained with must be names with numbers or short texts")
    return entry


def _plain(item: tuple[str, Any]) -> bool:
    name, value = item
    short = len(name) <= MOST_TEXT and (not isinstance(value, str) or len(value) <= MOST_TEXT)
    number = isinstance(value, int | float) and abs(value) < LARGEST
    return short and (value is None or isinstance(value, str) or number)


def _meta(entry: dict[str, Any], tensors: dict[str, Tensor]) -> Meta:
    names = [field.name for field in fields(Parts)]
    if set(tensors) != {*names, *SCORES}:
        odd = sorted(set(tensors) ^ {*names, *SCORES})
        raise Failed(f"tensors that are missing, or that belong to no meta-classifier: {listed(odd)}")
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not bool(value.isfinite().all()):
            raise Failed(f"the tensor {name} must hold finite numbers of 32 bits")
    parts = Parts(**{name: tensors[name] for name in names})
    wide = parts.queries.dim() in (3, 4, 5) and parts.hidden_weight.dim() == 3 and parts.queries.numel() > 0
    if not wide or any(tensors[name].dim() != 1 or not len(tensors[name]) for name in SCORES):
        raise Failed("the tensors of the meta-classifier have not the shapes that it needs")
    repeats, queries = parts.queries.shape[:2]
    _, hidden, answers = parts.hidden_weight.shape
    shapes = [tuple(value.shape) for value in list(parts.tensors().values())[1:]]
    if (
        shapes != [(repeats, hidden, answers), (repeats, hidden), (repeats, hidden), (repeats,)]
        or hidden < 1
        or answers % queries
        or answers < 2 * queries
    ):
        raise Failed("the tensors of the meta-classifier do not fit each other")
    return Meta(
        parts,
        (float(entry["bounds"][0]), float(entry["bounds"][1])),
        entry["standardise"],
        tensors["clean"],
        tensors["jumbo"],
        entry["shadows"],
    )
