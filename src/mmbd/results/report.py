"""A report: what was judged, by which detector, what it found and how it was run.

Frozen data with a versioned JSON form, by `report.schema.json`. Renderers only read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmbd.base import reading, schema
from mmbd.base.jsonable import jsonable
from mmbd.model.info import ModelInfo
from mmbd.results import artifacts
from mmbd.results.finding import Artifact, Column, Finding, Matrix, Test, Verdict
from mmbd.results.report_2 import as_schema_3
from mmbd.results.ruling import Ruling
from mmbd.results.shown import Shown

SCHEMA_VERSION = 3
MOST_BYTES = 64 << 20  # of a report


@dataclass(frozen=True)
class Run:
    """Where and when a detector ran, and what it took; its settings are part of its finding."""

    seed: int
    started: str
    seconds: float
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Stability:
    """The detector repeated with other seeds: which class came first each time, and the p-values.

    The report's own p-value is of all seeds together (`null.seeds`); its numbers are those of
    the seed that `decides`. A winner is None where that seed ranked no class.
    """

    seeds: tuple[int, ...]
    winners: tuple[int | None, ...]
    p_values: tuple[float | None, ...]
    decides: int | None = None

    def __post_init__(self) -> None:
        if not len(self.seeds) == len(self.winners) == len(self.p_values):
            raise ValueError("stability needs one winner and one p-value a seed")


@dataclass(frozen=True)
class Report:
    """The outcome of a scan.

    Attributes:
        detector: its name in `mmbd.detectors.DETECTORS`.
        version: the version that the detector declares.
        level: the false-positive rate asked for.
        class_names: one a class; untrusted text. Empty where the model could not be read.
        finding: what the detector says; the properties below are its most used parts.
        model: what was scanned.
        run: where and when; None if nothing was run.
        stability: with several seeds.
        claimed: what is known of the model by its file's own words alone, such as "bounds".
        ruling: what a policy says of it; None where none was given.

    Raises:
        ValueError: parts that contradict each other, such as a target that is no class.
    """

    detector: str
    version: int
    level: float
    class_names: tuple[str, ...]
    finding: Finding
    model: ModelInfo
    run: Run | None = None
    stability: Stability | None = None
    claimed: tuple[str, ...] = ()
    ruling: Ruling | None = None

    def __post_init__(self) -> None:
        self.finding.check(len(self.class_names))
        if self.ruling is not None:
            self.ruling.check(self.scan_code)
        winners = () if self.stability is None else self.stability.winners
        if any(label is not None and not 0 <= label < len(self.class_names) for label in winners):
            raise ValueError(f"winners {list(winners)[:9]} are not all among {len(self.class_names)} classes")

    @property
    def verdict(self) -> Verdict:
        """What was found: "clean" (nothing at this level), "backdoored" or "not evaluable"."""
        return self.finding.verdict

    @property
    def reason(self) -> str | None:
        """Why the model is not evaluable; None otherwise."""
        return self.finding.reason

    @property
    def targets(self) -> tuple[int, ...]:
        """The target classes found, the most suspicious first."""
        return self.finding.targets

    @property
    def p_value(self) -> float | None:
        """The p-value of the test that decides; None if that has none."""
        return None if self.finding.test is None else self.finding.test.p_value

    @property
    def statistics(self) -> tuple[float | None, ...]:
        """The detector's statistic of every class: its first column; empty without one."""
        return self.finding.columns[0].values if self.finding.columns else ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """What this scan cannot see, and what went less than smoothly, in sentences."""
        return self.finding.caveats

    @property
    def exit_code(self) -> int:
        """The scan's own code, or what a policy makes of it: 0 where an exception accepts the model."""
        return self.scan_code if self.ruling is None else self.ruling.exit_code(self.scan_code)

    @property
    def scan_code(self) -> int:
        """0 clean, 1 backdoored, 3 not evaluable; 2 where the scan failed, as the reason says."""
        if (self.reason or "").startswith("failed: "):
            return 2
        return {"clean": 0, "backdoored": 1, "not evaluable": 3}[self.verdict]

    def revised(self, **changes: Any) -> Report:
        """This report with other parts of its finding: `report.revised(caveats=...)`."""
        return replace(self, finding=replace(self.finding, **changes))

    def to_json(self, beside: Mapping[str, Any] | None = None) -> str:
        """The report as JSON, by the schema in `mmbd/results/report.schema.json`; never NaN.

        Args:
            beside: where the artifacts lie, as `artifacts.write` says it; the JSON alone has none.
        """
        plain: dict[str, Any] = {"schema": SCHEMA_VERSION}
        for item in fields(self):
            value = getattr(self, item.name)
            plain[item.name] = asdict(value) if hasattr(value, "__dataclass_fields__") else value
        found = plain["finding"]
        del found["artifacts"], found["no_verdict"], found["not_clean"]
        if found["shown"] is None:  # earlier releases do not know the key
            del found["shown"]
        if not plain["model"]["beside"]:
            del plain["model"]["beside"]
        if plain["ruling"] is None:
            del plain["ruling"]
        return json.dumps(jsonable(plain | {"artifacts": beside}), indent=2)

    @classmethod
    def from_json(cls, text: str, seen: Sequence[Artifact] = ()) -> Report:
        """Read a report back, of schema 2 too. Its artifacts are those `seen`: `Report.load` finds them.

        Raises:
            ValueError: not JSON, another schema version, or not as the schema has it; says where.
        """
        raw = _checked(text)
        found = raw["finding"]
        finding = Finding(
            verdict=found["verdict"],
            targets=tuple(found["targets"]),
            ranking=tuple(found["ranking"]),
            ranked_by=found["ranked_by"],
            score=found["score"],
            decided_by=found["decided_by"],
            tests=tuple(Test(**test) for test in found["tests"]),
            columns=tuple(Column(**column | _tuples(column, "values")) for column in found["columns"]),
            matrices=tuple(
                Matrix(**matrix | {"values": tuple(map(tuple, matrix["values"]))})
                for matrix in found["matrices"]
            ),
            artifacts=tuple(seen),
            shown=Shown.from_json(found["shown"]) if found.get("shown") else None,
            traces={int(label): tuple(trace) for label, trace in found["traces"].items()},
            caveats=tuple(found["caveats"]),
            settings=found["settings"],
            facts=found["facts"],
            reason=found["reason"],
        )
        model, stability, run = raw["model"], raw["stability"], raw["run"]
        return cls(
            detector=raw["detector"],
            version=raw["version"],
            level=raw["level"],
            class_names=tuple(raw["class_names"]),
            finding=finding,
            model=ModelInfo(**model | _tuples(model, "input_shape", "bounds", "mean", "std")),
            run=run and Run(**run),
            stability=stability
            and Stability(**stability | _tuples(stability, "seeds", "winners", "p_values")),
            claimed=tuple(raw["claimed"]),
            ruling=Ruling.from_json(raw["ruling"]) if raw.get("ruling") else None,
        )

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report from a JSON file, with the artifacts that lie beside it.

        Raises:
            FileNotFoundError, Failed: the file, or what it says of the artifacts, cannot be read.
            ValueError: as `from_json`; `Failed` is one too.
        """
        text = reading.text(path, MOST_BYTES)
        said = _checked(text)["artifacts"]
        return cls.from_json(text, () if said is None else artifacts.read(Path(path), said))

    def save(self, path: str | Path) -> None:
        """Write to `path`, whole or not at all, in the form of its suffix; see `mmbd.save`.

        Raises:
            ValueError: a suffix that reports are not written with.
        """
        import mmbd  # the face of the package: no room below knows how a result looks

        mmbd.save(self, path)


@cache
def report_schema(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The JSON schema of reports of this version: 3, or 2."""
    name = "report.schema.json" if version == SCHEMA_VERSION else f"report_{version}.schema.json"
    return json.loads(files("mmbd.results").joinpath(name).read_text(encoding="utf-8"))


def _checked(text: str) -> dict[str, Any]:
    """The JSON of a report as schema 3 has it, whichever of the known versions it is."""
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    version = raw.get("schema") if isinstance(raw, dict) else None
    if type(version) is not int or version not in (2, SCHEMA_VERSION):
        raise ValueError(
            f"a report of schema {version!r:.60}; this release reads schema 2 and {SCHEMA_VERSION}"
        )
    wanted = report_schema(version)
    schema.check(raw, wanted)
    return as_schema_3(raw) if version == 2 else raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name}")


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: None if values[name] is None else tuple(values[name]) for name in names}
