"""Files that are written whole, and what is left of those that were not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mmbd.base import writing
from mmbd.base.writing import clear, whole

HALF = """
import os, sys
from mmbd.base.writing import whole
with whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print(os.path.basename(file.name), flush=True)
    sys.stdin.readline()
    os._exit(9)
"""


@contextmanager
def writer(path: Path):
    """A process that is writing `path` inside, and has died, half done, afterwards."""
    command = [sys.executable, "-c", HALF, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield path.parent / process.stdout.readline().decode().strip()
        process.communicate(b"\n")
    assert process.returncode == 9


@pytest.fixture
def leftover(tmp_path) -> Path:
    with writer(tmp_path / "report.json") as partial:
        pass
    assert partial.read_text() == "half"
    return partial


def numbered(name: str, number: str) -> str:
    """The name of what another process leaves."""
    start, _, random, end = name.rsplit(".", 3)
    return f"{start}.{number}.{random}.{end}"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_text() == "new"
    with suppress(MemoryError), whole(path, force=True) as file:
        file.write(b"newer")
        raise MemoryError
    assert path.read_text() == "new"
    with pytest.raises(FileExistsError, match="left alone"), whole(path):
        pass
    assert names(tmp_path) == {"a.txt"}


def test_writing_removes_what_a_dead_process_left(leftover):
    with whole(leftover.parent / "other.json") as file:
        file.write(b"{}")
        assert not leftover.exists()
    assert names(leftover.parent) == {"other.json"}


def test_the_file_of_a_live_process_stays(tmp_path):
    with writer(tmp_path / "report.json") as partial:
        clear(tmp_path)
        assert partial.exists()
    clear(tmp_path)
    assert names(tmp_path) == set()


def test_files_under_way_in_this_process_stay(tmp_path):
    with whole(tmp_path / "a") as first, whole(tmp_path / "b") as second:
        first.write(b"1")
        second.write(b"2")
        clear(tmp_path)
    assert names(tmp_path) == {"a", "b"}


def test_a_dead_process_may_have_had_our_number(leftover):
    heir = leftover.with_name(leftover.name.replace(leftover.suffixes[-3], f".{os.getpid()}"))
    leftover.rename(heir)
    clear(heir.parent)
    assert names(heir.parent) == set()


def test_another_users_process_is_alive(leftover, monkeypatch):
    def refuse(process: int, signal: int) -> None:
        assert signal == 0
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    clear(leftover.parent)
    assert leftover.exists()


def test_another_users_file_stays(leftover, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: leftover.stat().st_uid + 1)
    clear(leftover.parent)
    assert leftover.exists()


def test_what_another_machine_writes_stays(leftover, monkeypatch):
    monkeypatch.setattr(writing, "machine", lambda: "0" * 8)
    clear(leftover.parent)
    assert leftover.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.removeprefix("."),
        lambda name: name.removesuffix(".partial"),
        lambda name: name.replace(".partial", "x.partial"),
        lambda name: numbered(name, "9" * 30),
        lambda name: numbered(name, "0"),
        lambda name: name.replace(".partial", "0.partial"),
    ],
    ids=["no dot", "no ending", "no number", "no such number", "zero", "longer"],
)
def test_files_that_look_alike_stay(leftover, change):
    other = leftover.with_name(change(leftover.name))
    leftover.rename(other)
    clear(other.parent)
    assert other.exists()


def test_links_and_folders_stay(leftover):
    name, folder = leftover.name, leftover.parent
    leftover.rename(folder / "kept")
    (folder / name).symlink_to("kept")
    (folder / name.replace("report", "folder")).mkdir()
    clear(folder)
    assert len(names(folder)) == 3


def test_a_folder_that_cannot_be_read_is_left(tmp_path):
    clear(tmp_path / "nowhere")


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    path.chmod(0o600)
    return path


def unharmed(path: Path) -> bool:
    return path.read_text() == "precious" and path.stat().st_mode & 0o777 == 0o600


def test_links_put_there_beforehand_are_not_followed(tmp_path, victim, monkeypatch):
    folder = tmp_path / "shared"
    folder.mkdir()
    # All of the name that can be foreseen, and the rest by treason.
    monkeypatch.setattr(writing.secrets, "token_hex", lambda size: "0" * 2 * size)
    for name in (
        f".report.json.{writing.machine()}.{os.getpid()}.partial",
        f".report.json.{writing.machine()}.{os.getpid()}.{'0' * 16}.partial",
    ):
        (folder / name).symlink_to(victim)
    with pytest.raises(FileExistsError), whole(folder / "report.json") as file:
        file.write(b"mine")
    assert unharmed(victim)
    assert not (folder / "report.json").exists()
    assert (folder / name).is_symlink()  # and what is not ours stays


def test_two_names_of_half_written_files_never_agree(tmp_path):
    with whole(tmp_path / "a", force=True) as one, whole(tmp_path / "a", force=True) as other:
        assert one.name != other.name


def test_a_link_is_replaced_and_not_written_through(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("link", "lost"):
        with pytest.raises(FileExistsError, match="left alone"), whole(tmp_path / name):
            pass
        with whole(tmp_path / name, force=True) as file:
            file.write(b"mine")
        assert (tmp_path / name).read_bytes() == b"mine"
        assert not (tmp_path / name).is_symlink()
    assert unharmed(victim)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_mode_is_the_umasks_from_the_first_moment(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with whole(tmp_path / "a") as file:
            assert Path(file.name).stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_devices_pipes_and_folders_are_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(FileExistsError, match="no regular file"), whole(path, force=True):
            pass
    assert names(tmp_path) == {"pipe", "folder"}


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x", "\udcff" * 255, ".a"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    with whole(tmp_path / name) as file:
        file.write(b"1")
    assert (tmp_path / name).read_bytes() == b"1"
    assert len(names(tmp_path)) == 1


def test_leftovers_of_earlier_releases_are_removed_too(leftover):
    start, _, end = leftover.name.rsplit(".", 2)
    leftover.rename(leftover.with_name(f"{start}.{end}"))
    clear(leftover.parent)
    assert names(leftover.parent) == set()
