"""Reports of schema 2, which knew MM-BD alone, read as what they are in schema 3."""

from __future__ import annotations

from typing import Any

# The numbers that a null of schema 2 compared, where they were others than the margins.
EVIDENCE = {"joint": "margin times gain", "reference": "distance from the references"}
BESIDE = "maximum margin of the default search"


def as_schema_3(raw: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a report of schema 2, checked, in the form of schema 3."""
    evidence, run = raw.get("evidence"), raw["run"]
    columns = [_column("maximum margin", raw["statistics"], "logits")]
    if raw["gains"] is not None:
        columns.append(_column("universal-perturbation gain", raw["gains"], "logits"))
    ranked_by = None
    if evidence is not None:
        ranked_by = EVIDENCE.get(raw["null"] or "", BESIDE)
        columns.append(_column(ranked_by, evidence))
    if raw["class_p_values"] is not None:
        columns.append(_column("p-value", raw["class_p_values"], suspicious="low"))
    tests = [_test(entry) for entry in raw["p_values"]]
    decided = next((test for test in tests if test["name"] == raw["null"]), None)
    log10 = None if decided is None or raw["verdict"] == "not evaluable" else decided["log10"]
    finding = {
        "verdict": raw["verdict"],
        "targets": raw["targets"],
        "ranking": ranking(raw["statistics"], evidence),
        "ranked_by": ranked_by,
        "score": None if log10 is None else -log10,
        "decided_by": raw["null"],
        "tests": tests,
        "columns": columns if raw["statistics"] else [],
        "matrices": [],
        "traces": raw["curves"],
        "caveats": raw["caveats"],
        "settings": {} if run is None else settings(run["method"], run["settings"], run["universal"]),
        "facts": {} if run is None else _facts(run),
        "reason": raw["reason"],
    }
    stability = raw["stability"]
    return {
        "schema": 3,
        "detector": "mm-bd",
        "version": 1,
        "level": raw["level"],
        "class_names": raw["class_names"],
        "finding": finding,
        "model": raw["model"],
        "run": run and {name: run[name] for name in ("seed", "started", "seconds", "device", "versions")},
        "stability": stability and {"decides": None} | stability,
        "claimed": raw.get("claimed", []),
        "artifacts": None,
    }


def settings(method: str, margins: dict[str, Any], universal: dict[str, Any] | None) -> dict[str, Any]:
    """MM-BD's settings as its findings have them."""
    return {"method": method, "maximum_margins": margins, "universal_perturbations": universal}


def ranking(statistics: Any, evidence: Any) -> list[int]:
    """The classes with a valid margin, by what decides, the largest first.

    Those that have a margin, but not what decides, come last; ties go by number.
    """
    decides = statistics if evidence is None else evidence
    order = [
        (decides[label] is None, -(value if decides[label] is None else decides[label]), label)
        for label, value in enumerate(statistics)
        if value is not None
    ]
    return [label for _, _, label in sorted(order)]


def _column(name: str, values: Any, unit: str = "", suspicious: str = "high") -> dict[str, Any]:
    return {"name": name, "values": values, "unit": unit, "suspicious": suspicious}


def _test(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = dict(entry["parameters"])
    return {
        "name": entry["null"],
        "statistic": parameters.pop("statistic", None),
        "p_value": entry["value"],
        "log10": entry["log10"],
        "threshold": parameters.pop("critical", None),
        "reason": entry["reason"],
        "parameters": parameters,
        "suspicious": "high",
    }


def _facts(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "searches": run["searches"],
        "converged": run["converged"],
        "zero_gradient": run["dead"],
        "evaluations": run["evaluations"],
        "batch": run["batch"],
        "oom_retries": run["retreats"],
    }
