"""Files with the names of the classes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmbd.base.errors import Failed
from mmbd.formats import class_names
from mmbd.formats.class_names import read_class_names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ('["a b", "\\u00e9"]', ("a b", "é")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ('{"dog": 1, "cat": 0}', ("cat", "dog")),
        ('{"1": 0, "0": 1}', ("1", "0")),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
        ('{"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}', ("cat", "dog")),
        ('{"num_labels": 2, "label2id": {"dog": 1, "cat": 0}}', ("cat", "dog")),
        (json.dumps({str(i): f"n{i}" for i in range(12)}), tuple(f"n{i}" for i in range(12))),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": "cat", "2": "dog"}', "2 numbers, expected 0 to 1, but 1 is missing"),
        ('{"1": "cat", "2": "dog"}', "but 0 is missing"),
        ('{"0": "cat", "dog": 0}', "have 0 twice"),
        ('{"a": "cat"}', r"found a JSON object with a text \(\"cat\"\) at 'a', expected class names"),
        ('{"0": null}', "found a JSON object with null at '0', expected class names"),
        ('{"0": ["cat"]}', "with a list at '0'"),
        ('{"0": {"1": "cat"}}', "with an object at '0'"),
        ('{"id2label": {"0": true}}', "with a truth value .* at '0'"),
        ('{"²": "cat"}', "at '²'"),
        ('{"' + "1" * 5000 + '": "cat"}', "at '1111"),
        ('{"cat": ' + "1" * 4000 + "}", "1 numbers, expected 0 to 0, but 0 is missing"),
        ('{"cat": ' + "1" * 5000 + "}", "broken JSON"),
        ("{}", "found no names; known: one class name a line, or JSON"),
        ('["cat", 3]', r"found a JSON list with a number \(3\) in it, expected class names"),
        ('["cat", ""]', "found an empty name"),
        ('{"0": "cat"', "broken JSON"),
    ],
)
def test_messages_say_what_was_found_and_what_is_known(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(content)
    with pytest.raises(Failed, match=message):
        read_class_names(tmp_path / "names.json")


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a FIFO would wait for ever, /dev/zero would never end."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(Failed, match=r"cannot read the class names.*expected a regular file"):
            read_class_names(path)


def test_sizes_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(Failed, match="10,737,418,240 bytes, expected at most 16,777,216"):
        read_class_names(tmp_path / "sparse")
    (tmp_path / "many").write_text("x\n" * 1_000_001)
    with pytest.raises(Failed, match="1,000,001 class names, expected at most 1,000,000"):
        read_class_names(tmp_path / "many")
    monkeypatch.setattr(class_names, "MAX_BYTES", 3)
    (tmp_path / "small").write_text("abc")
    assert read_class_names(tmp_path / "small") == ("abc",)
