"""Honest files with damage at random places: cut short, bits turned, pieces moved or put in."""

from __future__ import annotations

import random
from pathlib import Path

from helpers.marker_pickles import pickles
from hostile.corpus import valid
from hostile.corpus.case import EITHER, FAILED, Case

EACH = 12


def cases(seed: int, marker: Path) -> list[Case]:
    source, found = random.Random(seed), list[Case]()
    honest = valid.files(seed)
    evil = pickles(marker)["os.system, protocol 2"][0]
    for form, (data, flags) in honest.items():
        suffix = ".safetensors" if form.endswith("safetensors") else ".pt"

        def add(
            name: str,
            damaged: bytes,
            codes: frozenset[int] = EITHER,
            *,
            form: str = form,
            suffix: str = suffix,
            flags: tuple[str, ...] = flags,
        ) -> None:
            found.append(Case("damaged", f"{form}, {name}", damaged, codes, suffix, flags))

        # A file that is whole ends with 3, for want of classes; one cut short never gets there.
        add("whole", data, frozenset({3}))
        cuts = {0, 1, 8, 15, 16, 30, len(data) - 1, len(data) - 22}
        cuts |= {source.randrange(len(data)) for _ in range(EACH)}
        for length in sorted(cuts):
            add(f"cut to {length}", data[:length], FAILED)
        for number in range(2 * EACH):
            turned = bytearray(data)
            for _ in range(source.choice([1, 1, 2, 8, 64])):
                turned[source.randrange(len(data))] ^= 1 << source.randrange(8)
            add(f"bits turned {number}", bytes(turned))
        for number in range(EACH):
            start, end = sorted(source.sample(range(len(data)), 2))
            at = source.randrange(len(data))
            other = source.choice(list(honest.values()))[0]
            piece = source.choice([data[start:end], other[start:end], evil, b"\xff" * 8, bytes(64)])
            add(f"a piece put in {number}", data[:at] + piece + data[at:])
            add(f"a piece put over {number}", data[:at] + piece + data[at + len(piece) :])
            add(f"a piece taken out {number}", data[:start] + data[end:])
    return found
