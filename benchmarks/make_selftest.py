"""The two networks that `mmbd selftest` knows the answers of, and those answers.

    python -m benchmarks.make_selftest DATA WORK [--out FOLDER]

DATA is a folder with `cifar10/train.parquet` and `cifar10/test.parquet`, WORK one for the zoo that
`make_selftest.toml` says: small CIFAR-10 classifiers with the first seeds, 0 clean and 1 with a badnet.
They are known answers, whose numbers a machine has to arrive at again; how often a scan finds backdoors
is measured elsewhere, on networks that nobody picked. (Made-up pictures of ten shapes were tried before
CIFAR-10: networks this small learned them so well that a patch, though it worked, left no uncommon gap.)
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

import mmbd
from mmbd.base.environment import processor, versions
from mmbd.workflows import selftest
from mmbd.zoo import cards
from mmbd.zoo import plan as plans
from mmbd.zoo.make import make

PLAN = Path(__file__).with_suffix(".toml")
TOLD = ("attack", "seed", "accuracy", "asr", "poisoned", "sha256", "samples", "digests")


def answer(file: Path) -> dict[str, Any]:
    """What a default scan says of a model, in the form of `answers.json`."""
    report = mmbd.scan(mmbd.load(file), seed=selftest.SEED)
    columns = {column.name: column.values for column in report.finding.columns}
    return {
        "verdict": report.verdict,
        "targets": list(report.targets),
        "p_value": report.p_value,
        "statistics": {name: [float(f"{value:.7g}") for value in columns[name]] for name in selftest.COLUMNS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path(selftest.__file__).parent / "known_answers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(exist_ok=True)
    jobs = plans.read(PLAN)
    if failures := make(jobs, given.work, root=given.data).failures:
        raise SystemExit(f"not made: {failures}")
    answers: dict[str, Any] = {"made_by": versions() | {"processor": processor()}, "models": {}}
    for job in jobs:
        card = cards.read(cards.path(given.work, job.name))
        name = card["label"]
        shutil.copyfile(given.work / card["file"], given.out / f"{name}.safetensors")
        made = {key: card[key] for key in TOLD}
        answers["models"][name] = answer(given.out / f"{name}.safetensors") | {"made": made}
    (given.out / "answers.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
