"""Renderers: they read a report and write it for a terminal, a browser or a code scanner."""

from __future__ import annotations
