"""Settings of all tests: one thread, and property tests that do not depend on the clock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("mmbd", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("mmbd")

# Few tests that take long. They begin first: one that begins last is one that everything else waits for.
LONG = (
    "detectors/test_believing.py",
    "detectors/test_frozen.py",
    "cli/test_working_folder.py",
    "cli/test_evaluate.py",
    "cli/test_ends.py",
    "hostile/test_corpus.py",
    "zoo/test_make.py",
    "cli/test_full.py",
    "house/test_face.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long first, then those with most tests; the order within a file stays."""
    tests = Counter(item.path for item in items)
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: (place.get(item.path, len(LONG)), -tests[item.path]))
