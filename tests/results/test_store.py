"""The store of results: what it finds again, and what a damaged, hostile or hindered file costs."""

from __future__ import annotations

import os
import sqlite3
import struct
from dataclasses import replace

import pytest

from mmbd.base.errors import Failed
from mmbd.results import database
from mmbd.results import store as stores
from mmbd.results.store import TABLE, Key, Store

KEY = Key("model", "samples", "mm-bd", 1, '{"steps": 3}', 0.05, 7)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results.sqlite")


def filled(store: Store, count: int = 100) -> list[Key]:
    keys = [replace(KEY, model=f"{number:04}") for number in range(count)]
    for key in keys:
        assert store.put(key, f'"{key.model}"', b"\1" * 500) is None
    return keys


def raw(store: Store, *statements: str) -> None:
    connection = sqlite3.connect(store.path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_result_comes_back_as_it_was(store):
    assert store.get(KEY) is None
    assert not store.path.exists()  # asking makes no file
    assert store.put(KEY, '{"é": 1}', b"\0\1") is None
    found = Store(store.path).get(KEY)
    assert (found.value, found.artifacts) == ('{"é": 1}', b"\0\1")
    assert found.written[:2] == "20"
    assert '"torch"' in found.environment
    assert store.put(KEY, "[]") is None
    assert store.get(KEY).value == "[]"
    assert store.get(KEY).artifacts is None
    assert list(store.items()) == [(KEY, store.get(KEY))]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"samples": ""},
        {"method": "mm-bd "},
        {"version": 2},
        {"settings": "{}"},
        {"level": 0.050000001},
        {"seed": 2**80},
    ],
)
def test_every_part_of_the_key_counts(store, change):
    other = replace(KEY, **change)
    store.put(KEY, "1")
    assert store.get(other) is None
    store.put(other, "2")
    assert (store.get(KEY).value, store.get(other).value) == ("1", "2")
    assert set(store.keys()) == {KEY, other}


def test_what_sqlite_cannot_hold_costs_the_result_alone(store, monkeypatch):
    store.put(KEY, "1")
    assert "could not be kept" in store.put(replace(KEY, method="\ud800"), "2")
    monkeypatch.setattr(stores, "MOST_BYTES", 10)
    assert "11 bytes, expected at most 10" in store.put(replace(KEY, seed=1), "2", b"0" * 10)
    assert [value.value for _, value in store.items()] == ["1"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"not a database, but long enough to be taken for one" * 100,
        lambda content: content[:100] + b"\xff" * (len(content) - 100),
        lambda content: b"\0" * len(content),
        lambda content: content[:40],
        lambda content: content[: len(content) // 2 + 77],
    ],
)
def test_a_damaged_file_is_said_kept_aside_and_begun_anew(store, damage):
    filled(store, 50)
    broken = damage(store.path.read_bytes())
    store.path.write_bytes(broken)
    said = store.put(KEY, '"new"')
    assert "was damaged" in said
    assert "results.sqlite.damaged-1" in said
    assert store.path.with_name("results.sqlite.damaged-1").read_bytes() == broken
    assert store.get(KEY).value == '"new"'
    assert store.put(replace(KEY, seed=1), "1") is None


def test_what_can_be_read_of_a_damaged_file_is_taken_over(store):
    keys = filled(store)
    content = bytearray(store.path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    store.path.write_bytes(content)
    hit = next(key for key in keys if store.get(key) is None)
    assert "taken over" in store.put(hit, f'"{hit.model}"')
    kept = [key for key in keys if store.get(key) is not None]
    assert 80 < len(kept) < 100
    assert all(store.get(key).value == f'"{key.model}"' for key in kept)


def test_damage_can_be_looked_for_beforehand(store):
    assert store.repair() is None
    store.put(KEY, "1")
    assert store.repair() is None
    for number in (1, 2):
        store.path.write_bytes(b"damage" * 1000)
        with pytest.raises(Failed, match="cannot be read"):
            store.keys()
        assert f"damaged-{number}" in store.repair()
        assert store.keys() == []


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE others (a)"],
        ["CREATE TABLE results (model TEXT)"],
        ["CREATE VIEW results AS SELECT load_extension('evil') AS model"],
        [TABLE, "CREATE VIEW more AS SELECT 1"],
        [TABLE, "CREATE INDEX more ON results (value)"],
        [TABLE, "CREATE TRIGGER run AFTER INSERT ON results BEGIN DELETE FROM results; END"],
        [TABLE.replace("TEXT, samples", "TEXT DEFAULT (load_extension('evil')), samples")],
        ["CREATE VIRTUAL TABLE results USING fts5(model)"],
    ],
)
def test_somebody_elses_database_runs_nothing(store, statements):
    raw(store, *statements)
    before = store.path.read_bytes()
    assert store.get(KEY) is None
    assert store.path.read_bytes() == before
    assert "results taken over from it: 0" in store.put(KEY, "1")
    assert store.path.with_name("results.sqlite.damaged-1").read_bytes() == before
    assert [value.value for _, value in store.items()] == ["1"]


@pytest.mark.parametrize(
    "change",
    [
        "value = x'00'",
        "value = NULL",
        "artifacts = 'text'",
        "environment = x'33'",
        "value = zeroblob(2000000)",
        "artifacts = zeroblob(2000000)",
    ],
)
def test_rows_of_other_kinds_or_sizes_are_no_results(store, change, monkeypatch):
    monkeypatch.setattr(database, "MOST_BYTES", 1 << 20)
    store.put(KEY, "1")
    raw(store, f"UPDATE results SET {change}")
    assert store.get(KEY) is None
    store.put(KEY, "2")
    assert store.get(KEY).value == "2"


def test_keys_of_other_kinds_are_left_out(store):
    for number, change in enumerate(["seed = 'x'", "seed = x'00'", "version = 'one'", "level = 'low'"]):
        store.put(replace(KEY, model=str(number)), "1")
        raw(store, f"UPDATE results SET {change} WHERE model = '{number}'")
    store.put(KEY, "1")
    assert [key for key, _ in store.items()] == [KEY]


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "a FIFO"),
        (os.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a link"),
        (lambda path: path.symlink_to("nowhere"), "a link"),
    ],
)
def test_what_is_no_regular_file_is_refused_and_left_alone(store, end, make, words):
    place = store.path.with_name(store.path.name + end)
    make(place)
    with pytest.raises(Failed, match=f"found {words}"):
        Store(store.path)
    assert store.get(KEY) is None
    assert words in store.put(KEY, "1")
    assert list(store.path.parent.iterdir()) == [place]


def test_a_journal_that_names_another_file_removes_none(store, tmp_path):
    """SQLite removes the file that a journal names as the one above it, whatever it is."""
    store.put(KEY, "1")
    victim = tmp_path / "precious"
    victim.write_text("mine")
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    header = magic + struct.pack(">IIIII", 0, 0, store.path.stat().st_size // 4096, 512, 4096)
    ending = struct.pack(">II", len(name), sum(name)) + magic
    journal = tmp_path / "results.sqlite-journal"
    journal.write_bytes(header.ljust(512, b"\0") + struct.pack(">I", 0x40000000 // 4096 + 1) + name + ending)
    assert store.get(KEY) is None
    assert "a journal that names another file" in store.put(KEY, "2")
    assert victim.read_text() == "mine"
    journal.unlink()
    assert store.get(KEY).value == "1"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_costs_the_stored_result_alone(store, tmp_path):
    store.put(KEY, "1")
    tmp_path.chmod(0o555)
    try:
        assert store.get(KEY).value == "1"
        assert "could not be kept" in store.put(replace(KEY, seed=1), "2")
    finally:
        tmp_path.chmod(0o755)


def test_no_folder_costs_the_stored_result_alone(tmp_path):
    store = Store(tmp_path / "gone" / "results.sqlite")
    assert store.get(KEY) is None
    assert "could not be kept" in store.put(KEY, "1")
    assert store.repair() is None
