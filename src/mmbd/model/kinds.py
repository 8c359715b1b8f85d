"""Kinds of inputs: one question, answered in one place."""

from __future__ import annotations

from dataclasses import dataclass

from mmbd.model.domain import Domain


@dataclass(frozen=True)
class Kind:
    """A row of `KINDS`: what inputs of this kind are, in a few words."""

    title: str


KINDS: dict[str, Kind] = {
    "image": Kind("images (channels, height, width)"),
    "sound": Kind("sounds and other series (channels, samples)"),
    "points": Kind("point clouds (3, points)"),
    "vector": Kind("flat vectors, and whatever has no axes of a picture or a sound"),
}


def kind_of(domain: Domain) -> str:
    """The kind of a domain's inputs: what it says itself, else what its shape tells."""
    said = getattr(domain, "kind", None)
    if isinstance(said, str):
        return said
    return {3: "image", 2: "sound"}.get(len(domain.shape), "vector")
