"""The tables of clean networks that ship with the package, by their digests: what a p-value was read from."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

# By null; the others compare a model with itself, or with the user's own references.
FILES = {
    "with-samples": "with_samples.json",
    "combined": "combined.json",
    "joint": "joint.json",
    "population": "population.json",
}


@cache
def digest(null: str) -> str | None:
    """The SHA-256 of this null's table; None for one without a table, and for a name that is no null."""
    if null not in FILES:
        return None
    return hashlib.sha256(files("mmbd.null").joinpath(FILES[null]).read_bytes()).hexdigest()
