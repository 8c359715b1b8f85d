"""Zoos: labelled sets of clean and backdoored models, made here or brought along."""

from __future__ import annotations

from mmbd.zoo.entry import Entry, Label, Zoo
from mmbd.zoo.read import read

__all__ = ["Entry", "Label", "Zoo", "read"]
