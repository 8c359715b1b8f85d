"""Everything that may tell a backdoor from the model alone, measured on zoos; one JSON line a model.

    python -m benchmarks.study.marks OUT.jsonl ZOO [ZOO ...] [--gains] [--wait]

Of every model: maximum margins of all restarts, the marks of `search.marks`, the shares of the last linear
layer, and with --gains what the joint null looks at, to compare with. What is measured is kept beside OUT,
so a run can be killed and continued; with --wait it takes in models as they are made.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.study.measure import brief
from mmbd.base.errors import NotEvaluable
from mmbd.formats.load import load
from mmbd.model.classifier import Classifier
from mmbd.results.store import Key, Store
from mmbd.search.head_shares import head_shares
from mmbd.search.marks import marks
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.universal_data_free import universal_gains
from mmbd.zoo.own import cards_in

VERSION = 4


def of_model(classifier: Classifier, *, gains: bool) -> dict[str, Any]:
    """All numbers of one model; those that cannot be had give a reason instead."""
    found: dict[str, Any] = {}
    with classifier.frozen():
        for name, part in PARTS.items():
            if name == "gains" and not gains:
                continue
            start = time.perf_counter()
            try:
                found[name] = part(classifier)
            except NotEvaluable as error:
                found[name] = {"reason": str(error)}
            found[name]["seconds"] = round(time.perf_counter() - start, 2)
    return found


def _margins(classifier: Classifier) -> dict[str, Any]:
    found = maximum_margins(classifier)
    return {"by_restart": rounded(found.margins), "evaluations": found.evaluations}


def _gains(classifier: Classifier) -> dict[str, Any]:
    found = universal_gains(classifier)
    return {"added": rounded(found.added), "sparse": rounded(found.sparse), "evaluations": found.evaluations}


def _marks(classifier: Classifier) -> dict[str, Any]:
    found = marks(classifier, seed=0)
    went, pairs = found.went, found.went.nonzero().tolist()
    return {
        "added": rounded(found.gains.added),
        "sparse": rounded(found.gains.sparse),
        "window": rounded(found.window_lifts(classifier.classes)),
        "went": [[source, to, int(went[source, to])] for source, to in pairs],
        "evaluations": found.evaluations,
        "passes": found.to.passes + found.away.passes,
    }


def _head(classifier: Classifier) -> dict[str, Any]:
    return {"shares": rounded(torch.tensor(head_shares(classifier, seed=0)))}


PARTS = {"margins": _margins, "marks": _marks, "head": _head, "gains": _gains}


def rounded(values: Tensor) -> Any:
    """Numbers as lists, to four places; what is not finite is None."""
    if values.dim() > 1:
        return [rounded(row) for row in values]
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("zoos", type=Path, nargs="+")
    parser.add_argument("--gains", action="store_true", help="measure what the joint null looks at, too")
    parser.add_argument("--wait", action="store_true", help="go on until no model has come for a while")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store, idle = Store(options.out.with_suffix(".sqlite")), 0
    while idle < 30:
        lines: list[str] = []
        idle += 1
        for zoo in options.zoos:
            for card in sorted(cards_in(zoo).values(), key=lambda card: (card["seed"], card["name"])):
                key = Key(card["sha256"], "", "marks", VERSION, json.dumps({"gains": options.gains}))
                kept = store.get(key)
                entry = json.loads(kept.value) if kept else _measured(zoo, card, options.gains)
                if kept is None:
                    store.put(key, json.dumps(entry))
                    print(card["name"], entry["seconds"], flush=True)
                    idle = 0
                lines.append(json.dumps(entry) + "\n")
        options.out.write_text("".join(lines))
        if not options.wait:
            break
        time.sleep(20)


def _measured(zoo: Path, card: Mapping[str, Any], gains: bool) -> dict[str, Any]:
    start = time.perf_counter()
    found = of_model(load(zoo / card["file"]).classifier, gains=gains)
    about = {"zoo": zoo.name, "name": card["name"], **brief(card), "pairs": card["pairs"]}
    return {**about, **found, "seconds": round(time.perf_counter() - start, 2)}


if __name__ == "__main__":
    main()
