"""Backdoors in trained classifiers: found by maximum margins, and taken out."""

from __future__ import annotations
