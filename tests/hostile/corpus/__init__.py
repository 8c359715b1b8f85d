"""Some hundred hostile files of all kinds, the same for the same seed, with what must come of them.

Nothing in one of them may run, whoever asks for a scan of it gets an exit code of 2 or 3, and
words that name the file, say what is wrong with it and what to do next.
"""

from __future__ import annotations

import random
from pathlib import Path

from hostile.corpus import allowed, code, damaged, foreign, places, states, tensor_files, zips
from hostile.corpus.case import Case

SEED = 20


def corpus(marker: Path, seed: int = SEED) -> list[Case]:
    """Every file; those that hold a payload would create `marker` if it ran."""
    return [
        *code.cases(marker),
        *allowed.cases(),
        *zips.cases(seed),
        *tensor_files.cases(seed),
        *foreign.cases(seed),
        *states.cases(seed),
        *places.cases(),
        *damaged.cases(seed, marker),
    ]


def sample(cases: list[Case], most: int, seed: int) -> list[tuple[int, Case]]:
    """So many of them with their numbers, each kind with at least one."""
    source = random.Random(seed)
    numbered = list(enumerate(cases))
    source.shuffle(numbered)
    met: set[str] = set()
    first = [pair for pair in numbered if not (pair[1].kind in met or met.add(pair[1].kind))]
    rest = [pair for pair in numbered if pair not in first]
    return [*first, *rest][:most]
