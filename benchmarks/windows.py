"""What one small window does to models of a zoo: how many made-up inputs leave, where to, at what cost.

    python -m benchmarks.windows ZOO [ZOO ...] [--only WORD] [--out FILE.json]

A ZOO is a folder of `mmbd zoo make`, or `examples/models`. Every model is judged by `local-patch` with its
defaults and seed 0. Models of even seeds were for choosing, those of odd seeds are for reporting. A file
that is there already is continued. `hit` says that the most suspicious class is a true target; `flagged`
goes by the thresholds of the detector, which were never calibrated.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import mmbd
from mmbd.base.version import __version__

RESULT = Path(__file__).parent / "results" / "windows.json"


def models(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The model files of a folder, and of each the name, the seed, the attack and its targets."""
    listed = folder / "models.json"
    if listed.exists():
        for card in json.loads(listed.read_text()):
            attack = card["attack"] or {}
            targets = attack.get("targets", [attack["target"]] if "target" in attack else [])
            name = attack.get("trigger", "clean")
            yield (
                folder / card["file"],
                {"name": card["name"], "seed": None, "attack": name, "targets": targets},
            )
        return
    for file in sorted(folder.glob("*.safetensors")):
        if file.name.endswith(".trigger.safetensors"):
            continue
        card = json.loads(file.with_suffix(".json").read_text())
        words = {key: card[key] for key in ("name", "seed", "attack")}
        yield file, {**words, "targets": card.get("targets", []), "asr": card.get("asr")}


def judged(file: Path, card: dict[str, Any]) -> dict[str, Any]:
    """What the detector says of a model."""
    report = mmbd.scan(mmbd.load(file), detector="local-patch")
    finding = report.finding
    tests = {test.name: test.statistic for test in finding.tests}
    return {
        **card,
        "flagged": report.verdict == "backdoored",
        "decided_by": finding.decided_by,
        "score": finding.score,
        "top": finding.ranking[0] if finding.ranking else None,
        "hit": bool(finding.ranking) and finding.ranking[0] in card["targets"],
        **{name: tests.get(name) for name in ("one class", "a class for each", "lead")},
        **{name: finding.facts.get(name) for name in ("left", "pairs", "window", "evaluations", "passes")},
        "reason": finding.reason if finding.score is None else None,
        "seconds": report.run.seconds if report.run else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A line a model, those for reporting last."""
    lines = [f"{'model':32s} left  one class  pairs  lead   top  hit  flagged  evaluations"]
    for row in sorted(rows, key=lambda row: ((row["seed"] or 0) % 2, row["name"])):
        if row["reason"]:
            lines.append(f"{row['name']:32s} {row['reason']}")
            continue
        lines.append(
            f"{row['name']:32s} {row['left']:.2f}  {row['one class']:9.2f}  {row['a class for each']:5.2f}  "
            f"{row['lead']:5.2f}  {row['top']:3d}  {'yes' if row['hit'] else '-':3s}  "
            f"{'yes' if row['flagged'] else '-':7s}  {row['evaluations']}+{row['passes']}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoos", nargs="+", type=Path)
    parser.add_argument("--only", default="", help="models whose name holds this word")
    parser.add_argument("--half", choices=["even", "odd"], help="of the seeds")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    versions = {"mmbd": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    rows: list[dict[str, Any]] = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    known = {(row["zoo"], row["name"]) for row in rows}
    for folder in given.zoos:
        for file, card in models(folder):
            half = "odd" if (card["seed"] or 0) % 2 else "even"
            if (folder.name, card["name"]) in known or given.only not in card["name"]:
                continue
            if given.half not in (None, half):
                continue
            rows.append({"zoo": folder.name, **judged(file, card)})
            whole = {"what": "local-patch with its defaults, seed 0", "versions": versions, "rows": rows}
            given.out.write_text(json.dumps(whole, indent=1) + "\n")
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
