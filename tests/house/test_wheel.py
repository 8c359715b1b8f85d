"""What users install: every file of the package that it reads, and none that it does not need."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from helpers.rooms import SOURCE

ROOT = SOURCE.parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> set[str]:
    (wheel,) = WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]
    )
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_the_package_as_it_is_and_nothing_else(files):
    here = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files == {str(Path("mmbd") / path.relative_to(SOURCE)) for path in here}


def test_type_checkers_are_told_that_the_package_has_types(files):
    assert "mmbd/py.typed" in files
