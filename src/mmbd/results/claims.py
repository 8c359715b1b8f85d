"""Who is at what: fleets that share a store claim a model before they scan it, so that none is scanned twice.

A claim lies in the store itself. One whose process has ended on this machine is void at once. That a process
on another machine has ended shows in that it does not renew its claims any more: whoever waits counts by a
clock of its own that never jumps (`time.monotonic`), and compares no times of day.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Literal

from mmbd.base import processes
from mmbd.results.fleet import digest
from mmbd.results.kept import Held, Key
from mmbd.results.store import Store

METHOD, VERSION = "fleet claim", 1
PATIENCE = 600.0  # seconds without a sign of life
BEAT = 60.0  # seconds between two of them

Claim = Literal["mine", "theirs", "done"]


class Claims:
    """The claims of one driver.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._who = {"who": secrets.token_hex(8), **processes.here()}
        self._mine: dict[Key, Key] = {}
        self._beat, self._last = 0, time.monotonic()
        self._seen: dict[Key, tuple[str, float]] = {}

    def take(self, key: Key, *, again: bool = False) -> Claim:
        """Claim the making of a result.

        Args:
            key: of the result.
            again: also where there is one already.

        Raises:
            Failed: the store cannot be written.
        """
        place = _place(key)

        def act(held: Held) -> Claim:
            if not again and held.get(key) is not None:
                return "done"
            if not self._free(place, held.get(place)):
                return "theirs"
            held.put(place, self._said())
            return "mine"

        found = self._store.alone(act)
        if found == "mine":
            self._mine[key] = place
        return found

    def give_up(self, held: Held, key: Key) -> None:
        """Give up a claim, in the transaction that keeps the result; `kept` once that is through."""
        if key in self._mine:
            held.drop(self._mine[key])

    def kept(self, key: Key) -> None:
        """The transaction is through that gave up this claim."""
        self._mine.pop(key, None)

    def beat(self) -> None:
        """Renew the claims, if that is due; raises as `take`."""
        if self._mine and time.monotonic() - self._last >= BEAT:
            self._beat, self._last = self._beat + 1, time.monotonic()
            self._store.alone(lambda held: [held.put(place, self._said()) for place in self._mine.values()])

    def leave(self) -> None:
        """Forget all claims; raises as `take`."""
        if self._mine:
            self._store.alone(lambda held: [held.drop(place) for place in self._mine.values()])
            self._mine = {}

    def _said(self) -> str:
        return json.dumps({**self._who, "beat": self._beat})

    def _free(self, place: Key, claim: str | None) -> bool:
        """Whether nobody else who lives has this claim."""
        if claim is None:
            return True
        try:
            known = json.loads(claim)
        except (ValueError, RecursionError):
            return True
        if isinstance(known, dict) and known.get("who") == self._who["who"]:
            return True
        gone = processes.gone(known)
        if gone is not None:
            return gone
        said, since = self._seen.get(place, ("", 0.0))
        if said != claim:
            self._seen[place] = claim, time.monotonic()
            return False
        return time.monotonic() - since > PATIENCE


def _place(key: Key) -> Key:
    return Key(key.model, "", METHOD, VERSION, digest(key), key.level, key.seed)
