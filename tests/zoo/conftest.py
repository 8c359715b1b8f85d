"""One zoo of digits for all tests of this room: making it takes seconds."""

from __future__ import annotations

import pytest

from helpers import digit_zoos
from mmbd.base.progress import Progress
from mmbd.zoo import plan
from mmbd.zoo.make import make

GRID = '[[grid]]\nattack = ["clean", "badnet-M"]\n'


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A zoo of four models: (its folder, the plan, what was reported on the way)."""
    folder = tmp_path_factory.mktemp("zoo")
    file = digit_zoos.plan(folder, GRID + "seeds = [0, 1]\n")
    seen: list[Progress] = []
    make(plan.read(file), folder / "out", root=folder, text="the plan", progress=seen.append)
    return folder / "out", file, seen
