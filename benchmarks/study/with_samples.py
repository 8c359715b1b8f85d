"""What ten clean pictures a class tell beside what the model alone does; one JSON line a network.

    python -m benchmarks.study.with_samples OUT.jsonl ZOO [ZOO ...] [--images 10] [--part 0 --parts 1]

Windows and universal perturbations of `search.marks` on held-out pictures of the network's task that it gets
right: windows to each class and away, and flows of several sizes and added changes raced to each class, which
are counted on pictures that they were not searched on. What needs no data (margins, gains, the last layer)
stands in `results/variety.jsonl`. With `--scenes 64`, drawn pictures take the place of those, with one size
of flows and a sparse change more. Clean networks and warped ones come first, and even seeds before odd
ones. A network that is in OUT already, or in a file beside it, is left, so a run can be killed and continued,
and `--part` of `--parts` measures a share of the networks, into a file of its own; `--only` names some.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.marks import rounded
from benchmarks.study.measure import brief, usable
from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.data.dataset import Dataset, split
from mmbd.formats.load import load
from mmbd.formats.options import LoadOptions
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.search.made_up import made_up
from mmbd.search.marks import Search, shares_to, went
from mmbd.search.perturbation_race import Lap, raced, recounted
from mmbd.search.window_climb import in_turn
from mmbd.search.windows import AWAY, race
from mmbd.zoo import own
from mmbd.zoo.entry import Entry
from mmbd.zoo.own import cards_in

FLOWS = (0.02, 0.03, 0.045)  # root mean squares, in shares of the shorter side
SCENE_FLOWS = (0.03,)
ADDED = 0.03  # root mean square, in shares of the range
SPARSE = 0.01  # of all places
MOST = 16  # scenes of a class
FLOW_LAPS = (Lap(8, 6, 5), Lap(12, 12, 5))
ADDED_LAPS = (Lap(6, 4, 5), Lap(10, 8, 5))


def of_model(classifier: Classifier, given: Samples, *, drawn: bool = False) -> dict[str, Any]:
    """All numbers of one model with clean samples, or drawn ones."""
    right = given.at(given.correct)
    samples = right.at(in_turn(right.labels.cpu(), 0))
    half = len(samples.labels) // 2
    places = torch.arange(len(samples.labels))
    apart = drawn or half >= 2 * classifier.classes
    used, counted = (samples.at(places[:half]), samples.at(places[half:])) if apart else (samples, samples)
    how, start = Search(), time.perf_counter()
    found: dict[str, Any] = {"samples": len(samples.labels), "apart": apart}
    with classifier.frozen():
        away = race(classifier, samples, aims=[AWAY], rounds=how.away, seed=0)
        to = race(classifier, samples, aims=range(classifier.classes), rounds=how.to, seed=0)
        moved = went(away)
        lifts = [to.found[label].lift for label in range(classifier.classes)]
        found |= {
            "went": [[source, goes, int(moved[source, goes])] for source, goes in moved.nonzero().tolist()],
            "away": rounded(shares_to(moved)),
            "window": rounded(torch.tensor(lifts)),
            "taken": {
                aim: [[int(a), int(b)] for a, b in zip(to.samples.labels, logits.argmax(1), strict=True)]
                for aim in to.leading
                if (logits := to.found[aim].logits) is not None
            },
            "windows": {"evaluations": to.evaluations + away.evaluations, "passes": to.passes + away.passes},
        }
        found["windows"]["seconds"] = round(time.perf_counter() - start, 2)
        side, count = min(classifier.domain.shape[1:]), math.prod(classifier.domain.shape)
        flows = SCENE_FLOWS if drawn else FLOWS
        kinds = [("flow", size, size * side * math.sqrt(32), FLOW_LAPS) for size in flows]
        kinds.append(("added", ADDED, ADDED * math.sqrt(count), ADDED_LAPS))
        if drawn:
            pixels = math.prod(classifier.domain.shape[1:])
            kinds.append(("sparse", SPARSE, max(4.0, SPARSE * pixels), ADDED_LAPS))
        for kind, size, radius, laps in kinds:
            start = time.perf_counter()
            end = raced(classifier, used, kind, radius=radius, seed=0, laps=laps)
            again = recounted(classifier, end, counted)
            found[f"{kind} {size}"] = {
                "searched": rounded(end.shares),
                "shares": rounded(again.shares),
                "lifts": rounded(end.lifts),
                "evaluations": end.evaluations,
                "seconds": round(time.perf_counter() - start, 2),
            }
    return found


def pictures(entry: Entry, classifier: Classifier, images: int) -> Samples:
    """Held-out pictures of the task of a network, some of each class."""
    assert entry.samples is not None
    chosen: Dataset = split(entry.samples(), images, seed=0, leave=False)[0]
    return prepare(classifier, chosen.inputs, chosen.labels, fewest=1)


def order(entry: tuple[Path, Mapping[str, Any]]) -> tuple[int, int, int, str]:
    """Warped networks first, then clean ones, then others; even seeds before odd ones."""
    card = entry[1]
    warped = card["attack"].startswith(("wanet", "warp"))
    place = 0 if warped else 1 if card["label"] == "clean" else 2
    return place, card["seed"] % 2, card["seed"], card["name"]


def known_in(files: Sequence[Path]) -> set[tuple[str, str]]:
    """The zoos and names of the networks that are in these files."""
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    return {(entry["zoo"], entry["name"]) for entry in map(json.loads, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("zoos", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--scenes", type=int, help="this many drawn pictures instead of held-out ones")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="what was measured elsewhere")
    parser.add_argument("--only", nargs="*", help="names of networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cards = [(zoo, card) for zoo in options.zoos for card in cards_in(zoo).values() if usable(card)]
    entries = {zoo: {e.name: e for e in own.read(zoo, LoadOptions()).entries} for zoo in options.zoos}
    for number, (zoo, card) in enumerate(sorted(cards, key=order)):
        start, name = time.perf_counter(), card["name"]
        if number % options.parts != options.part or (options.only and name not in options.only):
            continue
        if (zoo.name, name) in known_in([options.out, *options.beside]):
            continue
        about = {"zoo": zoo.name, "name": name, **brief(card), "pairs": card["pairs"]}
        try:
            classifier = load(zoo / card["file"]).classifier
            if options.scenes:
                given = made_up("scenes", classifier, options.scenes, seed=0, most=MOST).samples
            else:
                given = pictures(entries[zoo][name], classifier, options.images)
            about |= of_model(classifier, given, drawn=bool(options.scenes))
        except (NotEvaluable, NotMitigated, ValueError) as error:
            about["reason"] = str(error)
        about["took"] = round(time.perf_counter() - start, 2)
        with options.out.open("a") as stream:
            stream.write(json.dumps(about) + "\n")
        print(name, about["took"], about.get("reason", ""), flush=True)


if __name__ == "__main__":
    main()
