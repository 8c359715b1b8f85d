"""Scan the bundled models, print a verdict for each, and write one HTML report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmbd import load, scan

HERE = Path(__file__).parent
REPORT = HERE.parent / "demo-report.html"


def main() -> int:
    """Return 0 if every verdict is the one its model card tells to expect."""
    wrong = 0
    shown = None
    for file in sorted((HERE / "models").glob("*.safetensors")):
        card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        loaded = load(file)
        report = scan(loaded.classifier, model=loaded.model)
        truth = (card["target"],) if card["target"] is not None else ()
        right = report.targets == truth
        wrong += not right
        names = ", ".join(report.class_names[label] for label in report.targets)
        print(
            f"{file.stem:24} {report.verdict:12} {names:12} p = {report.p_value:.2g}"
            f"   {'as the card says' if right else 'NOT as the card says'}"
        )
        if report.verdict == "backdoored" and (shown is None or report.p_value < shown.p_value):
            shown = report
    if shown is not None:
        shown.save(REPORT)
        print(f"\nThe report on {shown.model.name} is in {REPORT}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
