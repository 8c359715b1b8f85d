"""What tests of commands begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.planted_files import planted


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with a backdoored and a clean model."""
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / "bad.safetensors", gain=20.0)
    planted(tmp_path / "good.safetensors", gain=1.0)
    return tmp_path
