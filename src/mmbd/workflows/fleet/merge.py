"""Stores of several shards or machines as one; what two of them hold of the same is taken once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.results import claims, fleet
from mmbd.results.fleet import Fleet, Row
from mmbd.results.kept import Held
from mmbd.results.store import Store
from mmbd.workflows.fleet import digests

LOCAL = (digests.METHOD, claims.METHOD)  # what means nothing elsewhere


def merge(into: Path, parts: Sequence[Path]) -> tuple[int, int]:
    """Take all results of the parts over into a store, which may be there already.

    A model's rows that are in several stores are numbered anew, in the order of their numbers and times; of
    two on the same file and settings the later one stays. No part is changed.

    Args:
        into: the store; a result that it has already stays as it is.
        parts: stores.

    Returns:
        How many results were taken over, and how many models there are now.

    Raises:
        Failed: a store is not there, damaged, or cannot be written.
    """
    whole = Store(into)
    for part in parts:
        if not part.is_file():
            raise Failed(f"{reading.named(part)}: there is no such store")
    taken, rows = 0, list(_rows(whole))
    for part in parts:
        store = Store(part)
        rows += _rows(store)
        known = set(whole.keys())
        for key, stored in store.items():
            if key.method in (*LOCAL, fleet.METHOD) or key in known:
                continue
            whole.alone(
                lambda held, key=key, stored=stored: held.put(
                    key, stored.value, stored.artifacts, written=stored.written, made_by=stored.environment
                )
            )
            taken += 1
    numbered = _numbered(rows)
    old = [row.key for row in _rows(whole)]

    def act(held: Held) -> None:
        for key in old:
            held.drop(key)
        for row in numbered:
            held.put(row.key, row.to_json())

    whole.alone(act)
    return taken, len({row.name for row in numbered})


def _rows(store: Store) -> list[Row]:
    return [row for rows in Fleet.read(store).history.values() for row in rows]


def _numbered(rows: Sequence[Row]) -> list[Row]:
    """The rows of every model from 1 on, each version of it once: the last there was of it."""
    found: list[Row] = []
    for each in Fleet.of(rows).history.values():
        last = {(row.sha256, row.settings): row for row in each}
        kept = [row for row in each if last[row.sha256, row.settings] is row]
        found += [replace(row, number=number) for number, row in enumerate(kept, start=1)]
    return found
