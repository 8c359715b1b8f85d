"""What a scan found, as frozen data with a versioned JSON form. Renderers only read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmbd.base import schema
from mmbd.base.jsonable import jsonable
from mmbd.model.info import ModelInfo

if TYPE_CHECKING:  # reading and rendering a report needs no torch
    from torch import Tensor

SCHEMA_VERSION = 2

Verdict = Literal["clean", "backdoored", "not evaluable"]


@dataclass(frozen=True)
class PValue:
    """One null model's answer about the largest statistic.

    `value` and `log10` are None where this null does not apply; `reason` then says why.
    `parameters` are what was fitted or compared, for plots and reviews: `shape`, `loc` and `scale`
    of a Gamma fitted to the other classes' statistics, and the `exponent` of its p-value;
    `statistic`, the test statistic, and `critical`, what it had to exceed at this level. Without
    a `statistic`, `critical` is a margin in logits.
    """

    null: str
    value: float | None
    log10: float | None
    reason: str | None = None
    parameters: Mapping[str, float | None] = field(default_factory=dict[str, float | None])


@dataclass(frozen=True)
class Stability:
    """The scan repeated with other seeds: which class won each time, and the p-values.

    The report's own p-value is of all seeds together (`null.seeds`); its statistics are those of
    the seed that `decides`.
    """

    seeds: tuple[int, ...]
    winners: tuple[int, ...]
    p_values: tuple[float | None, ...]
    decides: int | None = None


@dataclass(frozen=True)
class Run:
    """How it was scanned: everything needed to repeat it, and what it took.

    `settings` are of the search for maximum margins, `universal` of the one for universal
    perturbations, None where there was none; `evaluations` and `seconds` are of both.
    """

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
    universal: Mapping[str, Any] | None = None

    @property
    def made_by(self) -> str:
        """Method and settings as one comparable text: statistics compare only where it agrees."""
        return made_by(self.method, self.settings)


def made_by(method: str, settings: Mapping[str, Any]) -> str:
    """Method and settings of a search for margins as one comparable text."""
    return json.dumps([method, dict(settings)], sort_keys=True)


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
        gains: what one perturbation of all inputs, faint or sparse, gains for every class, in
            logits (`universal.UniversalGains.gains`); None where it was not searched for.
        evidence: the numbers of the classes that the deciding null compared, where they are others
            than `statistics`: margin times gain for the joint null; None otherwise.
        claimed: what is known of the model by its file's own words alone, such as "bounds".
        inputs: the maximising inputs by class; in memory only, not part of the JSON form.

    Raises:
        ValueError: parts that contradict each other, such as a target that is no class.
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
    model: ModelInfo
    run: Run | None
    caveats: tuple[str, ...]
    curves: Mapping[int, tuple[float | None, ...]] = field(
        default_factory=dict[int, tuple[float | None, ...]]
    )
    gains: tuple[float | None, ...] | None = None
    evidence: tuple[float | None, ...] | None = None
    claimed: tuple[str, ...] = ()
    inputs: Mapping[int, Tensor] = field(default_factory=dict[int, "Tensor"], compare=False, repr=False)

    def __post_init__(self) -> None:
        classes = len(self.statistics)
        labels = {"targets": self.targets, "curves": self.curves, "inputs": self.inputs}
        if self.stability is not None:
            labels["winners"] = self.stability.winners
            if not len(self.stability.seeds) == len(labels["winners"]) == len(self.stability.p_values):
                raise ValueError("stability needs one winner and one p-value a seed")
        for name, values in labels.items():
            if any(not 0 <= label < classes for label in values):
                raise ValueError(f"{name} {list(values)[:9]} are not all among {classes} classes")
        if len(self.class_names) != classes:
            raise ValueError(f"{len(self.class_names)} class names for {classes} statistics")
        if self.class_p_values is not None and len(self.class_p_values) != classes:
            raise ValueError(f"{len(self.class_p_values)} class p-values for {classes} statistics")
        for name, values in (("gains", self.gains), ("evidence", self.evidence)):
            if values is not None and len(values) != classes:
                raise ValueError(f"{len(values)} {name} for {classes} statistics")
        if (self.verdict == "backdoored") != bool(self.targets):
            raise ValueError(f"the verdict is {self.verdict!r} with targets {self.targets}")
        if (self.verdict == "not evaluable") != (self.reason is not None):
            raise ValueError(f"the verdict is {self.verdict!r} with the reason {self.reason!r}")
        if self.null is not None and self.null not in {entry.null for entry in self.p_values}:
            raise ValueError(f"the null {self.null!r} decides but has no entry in p_values")

    @property
    def deciding(self) -> tuple[float | None, ...]:
        """The numbers of all classes that decide, the largest the most conspicuous."""
        return self.statistics if self.evidence is None else self.evidence

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
        return json.dumps(jsonable(plain), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report back; its `inputs` are empty.

        Raises:
            ValueError: not JSON, another schema version, or not as the schema has it; says where.
        """
        try:
            raw = json.loads(text, parse_constant=_refuse_constant)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error
        version = raw.get("schema") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"a report of schema {version!r:.60}; this release reads schema {SCHEMA_VERSION}"
            )
        schema.check(raw, report_schema())
        model, stability, run = raw["model"], raw["stability"], raw["run"]
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
            stability=stability
            and Stability(
                **stability | {name: tuple(stability[name]) for name in ("seeds", "winners", "p_values")}
            ),
            model=ModelInfo(
                **model | {name: _tuple(model[name]) for name in ("input_shape", "bounds", "mean", "std")}
            ),
            run=run and Run(**run),
            caveats=tuple(raw["caveats"]),
            curves={int(label): tuple(curve) for label, curve in raw["curves"].items()},
            gains=_tuple(raw["gains"]),
            evidence=_tuple(raw.get("evidence")),
            claimed=tuple(raw.get("claimed", ())),
        )

    def save(self, path: str | Path) -> None:
        """Write to `path`, whole or not at all, in the form of its suffix; see `mmbd.save`.

        Raises:
            ValueError: a suffix that reports are not written with.
        """
        import mmbd  # the face of the package: no room below knows how a result looks

        mmbd.save(self, path)


@cache
def report_schema() -> dict[str, Any]:
    """The schema of `Report.to_json()`."""
    return json.loads(files("mmbd.results").joinpath("report.schema.json").read_text(encoding="utf-8"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name}")


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)
