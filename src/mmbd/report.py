"""What a scan found, as frozen data with a versioned JSON form. Renderers only read it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

SCHEMA_VERSION = 1

Verdict = Literal["clean", "backdoored", "not evaluable"]


@dataclass(frozen=True)
class PValue:
    """One null model's answer about the largest statistic.

    `value` and `log10` are None where this null does not apply; `reason` then says why.
    `parameters` are what was fitted, for plots and reviews.
    """

    null: str
    value: float | None
    log10: float | None
    reason: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Stability:
    """The scan repeated with other seeds: which class won each time, and the p-values."""

    seeds: tuple[int, ...]
    winners: tuple[int, ...]
    p_values: tuple[float | None, ...]


@dataclass(frozen=True)
class Model:
    """What was scanned. File, digest and format are None for a model that came from memory."""

    name: str
    file: str | None
    sha256: str | None
    bytes: int | None
    format: str | None
    architecture: str
    parameters: int | None
    domain: str
    input_shape: tuple[int, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


@dataclass(frozen=True)
class Run:
    """How it was scanned: everything needed to repeat it, and what it took."""

    method: str
    settings: Mapping[str, Any]
    seed: int
    evaluations: int
    seconds: float
    batch: int
    retreats: int
    converged: int
    searches: int
    dead: int
    device: str
    started: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """The outcome of a scan.

    Attributes:
        verdict: "backdoored", "clean" (nothing found at this level) or "not evaluable".
        reason: why it is not evaluable; None otherwise.
        targets: the target classes found, the most conspicuous first.
        p_value: of the null that decides, None if there is none.
        level: the false-positive rate asked for.
        null: the name of the null that decides, an entry of `p_values`.
        p_values: every null's answer.
        statistics: the maximum margin of every class, in logits; None where it is not valid.
        class_p_values: per class, with reference models only (conformal); None otherwise.
        class_names: one a class; untrusted text.
        ratio: the largest statistic over the second largest; None unless both are positive.
        stability: with several seeds.
        model, run: what was scanned, and how.
        caveats: what this scan cannot see, and what went less than smoothly, in sentences.
        curves: the margins along the best search of some classes, the largest statistics first.
        inputs: the maximising inputs by class; in memory only, not part of the JSON form.
    """

    verdict: Verdict
    reason: str | None
    targets: tuple[int, ...]
    p_value: float | None
    level: float
    null: str | None
    p_values: tuple[PValue, ...]
    statistics: tuple[float | None, ...]
    class_p_values: tuple[float | None, ...] | None
    class_names: tuple[str, ...]
    ratio: float | None
    stability: Stability | None
    model: Model
    run: Run | None
    caveats: tuple[str, ...]
    curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict[int, tuple[float, ...]])
    inputs: Mapping[int, Tensor] = field(
        default_factory=dict[int, Tensor], compare=False, repr=False
    )

    @property
    def exit_code(self) -> int:
        """0 clean, 1 backdoored, 3 not evaluable."""
        return {"clean": 0, "backdoored": 1, "not evaluable": 3}[self.verdict]

    def to_json(self) -> str:
        """The report as JSON, by the schema in `mmbd/report.schema.json`; never NaN."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["inputs"]
        plain: dict[str, Any] = {"schema": SCHEMA_VERSION} | {
            name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
            for name, value in values.items()
        }
        plain["p_values"] = [asdict(entry) for entry in self.p_values]
        return json.dumps(_finite(plain), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report back; ValueError for another schema version or a missing field."""
        raw = json.loads(text)
        version = raw.pop("schema", None) if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"a report of schema {version!r}; this release reads schema {SCHEMA_VERSION}"
            )
        try:
            return cls(
                verdict=raw["verdict"],
                reason=raw["reason"],
                targets=tuple(raw["targets"]),
                p_value=raw["p_value"],
                level=raw["level"],
                null=raw["null"],
                p_values=tuple(PValue(**entry) for entry in raw["p_values"]),
                statistics=tuple(raw["statistics"]),
                class_p_values=_tuple(raw["class_p_values"]),
                class_names=tuple(raw["class_names"]),
                ratio=raw["ratio"],
                stability=None
                if raw["stability"] is None
                else Stability(**{key: tuple(value) for key, value in raw["stability"].items()}),
                model=Model(
                    **raw["model"]
                    | {key: _tuple(raw["model"][key]) for key in ("input_shape", "mean", "std")}
                ),
                run=None if raw["run"] is None else Run(**raw["run"]),
                caveats=tuple(raw["caveats"]),
                curves={int(label): tuple(curve) for label, curve in raw["curves"].items()},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a complete mmbd report: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write to `path`, whole or not at all, in the form its suffix names: .html or .json.

        Raises:
            ValueError: another suffix.
        """
        path = Path(path)
        if path.suffix == ".json":
            text = self.to_json() + "\n"
        elif path.suffix in (".html", ".htm"):
            from mmbd.render.page import html

            text = html(self)
        else:
            raise ValueError(f"cannot write {path.name!r}: the suffix must be .html or .json")
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
