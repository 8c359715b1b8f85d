"""Files with the names of the classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmbd.errors import Failed
from mmbd.load import read_class_names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ('["a b", "\\u00e9"]', ("a b", "é")),
    ],
)
def test_class_names_of_a_file(content: str, names: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(content.encode())
    assert read_class_names(tmp_path / "names") == names


@pytest.mark.parametrize("content", [b"", b"a\n\nb", b"[1]", b"[", b"[" * 99999, b"\xff", b"[]"])
def test_class_names_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(Failed, match="class name"):
        read_class_names(tmp_path / "names")
    with pytest.raises(Failed, match="cannot read the class names"):
        read_class_names(tmp_path / "missing")
