"""Files beside a model file, which it may name: plain names in its own folder, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mmbd.base.errors import Failed
from mmbd.formats.beside import NOTHING, Beside


def test_a_plain_name_is_read_once_and_its_digest_kept(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"abc")
    beside = Beside(tmp_path)
    assert beside.read("weights.bin") == b"abc"
    (tmp_path / "weights.bin").write_bytes(b"other")
    assert beside.read("weights.bin") == b"abc"
    assert beside.digests == {"weights.bin": hashlib.sha256(b"abc").hexdigest()}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "x\0y", "c:x"])
def test_no_other_folder_is_reached(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"in the folder")
    with pytest.raises(Failed, match="expected the plain name"):
        Beside(tmp_path).read(name)


def test_links_folders_fifos_and_what_is_missing_are_errors(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    beside = Beside(tmp_path)
    for name, words in {
        "link": "cannot be opened",
        "folder": "is a folder",
        "fifo": "is a FIFO",
        "missing": "is not there",
    }.items():
        with pytest.raises(Failed, match=words):
            beside.read(name)
    assert not beside.digests
    with pytest.raises(Failed, match="without a folder"):
        NOTHING.read("real")


def test_the_limit_is_of_all_files_together(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(6))
    beside = Beside(tmp_path, max_bytes=10)
    assert len(beside.read("a")) == 6
    with pytest.raises(Failed, match="6 bytes, where 4 are left"):
        beside.read("b")
