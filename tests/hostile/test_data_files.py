"""Data of strangers: what is no regular file is not opened, and what refuses says it in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.hostile_data import POSTSCRIPT, folder, hdf5, header, npz, parquet, png, small_png
from mmbd.base.errors import Failed
from mmbd.cli import main
from mmbd.data import read as data
from mmbd.workflows import scan_file as gate

MODEL = Path(__file__).parents[2] / "examples" / "models" / "badnet-resnet8.safetensors"


def test_what_is_not_a_regular_file_is_not_opened(tmp_path):
    inside = folder(tmp_path / "images", a=small_png())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(inside / "a" / "2.png"))
    listener.close()
    with pytest.raises(Failed, match=r"2\.png: expected a regular file, found a socket"):
        data.load(inside)
    (inside / "a" / "2.png").unlink()
    os.mkfifo(inside / "a" / "2.png")
    with pytest.raises(Failed, match=r"2\.png: expected a regular file, found a FIFO"):
        data.load(inside)
    for suffix in ("npz", "parquet", "h5"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        with pytest.raises(Failed, match=rf"fifo\.{suffix}: expected a regular file, found a FIFO"):
            data.load(tmp_path / f"fifo.{suffix}")
        with pytest.raises(Failed, match=rf"zero\.{suffix}: expected .* character device"):
            data.load(tmp_path / f"zero.{suffix}")
    (tmp_path / "meshes" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "meshes" / "a" / "1.off")
    with pytest.raises(Failed, match=r"1\.off: expected a regular file, found a FIFO"):
        data.load(tmp_path / "meshes")
    (tmp_path / "meshes" / "a" / "1.off").unlink()
    with (tmp_path / "meshes" / "a" / "1.off").open("wb") as sparse:
        sparse.truncate(10 << 30)
    with pytest.raises(Failed, match=r"1\.off: the file has 10,737,418,240 bytes, expected at mos"):
        data.load(tmp_path / "meshes")
    hdf5(tmp_path / "a.h5")
    os.mkfifo(tmp_path / "shape_names.txt")
    with pytest.raises(Failed, match=r"shape_names\.txt: expected a regular file"):
        data.load(tmp_path / "a.h5", points=9)


@pytest.mark.parametrize("kind", ["label", "bomb", "postscript", "terabytes", "link", "fifo"])
def test_fix_says_it_in_one_line(tmp_path, capsys, kind):
    made = {
        "label": lambda: parquet(tmp_path / "a.parquet", [small_png()], [10**12]),
        "bomb": lambda: folder(tmp_path / "a", cat=png(20_000, 20_000)),
        "postscript": lambda: folder(tmp_path / "a", cat=POSTSCRIPT),
        "terabytes": lambda: npz(tmp_path / "a.npz", header("(2, 350000000000)")),
        "link": lambda: hdf5(tmp_path / "a.h5", (0, 10**12)),
        "fifo": lambda: os.mkfifo(tmp_path / "a.npz") or tmp_path / "a.npz",
    }[kind]()
    with pytest.raises(SystemExit) as stopped:
        main(["fix", str(MODEL), "--data", str(made), "--out", str(tmp_path / "f.safetensors")])
    errors = capsys.readouterr().err
    assert (stopped.value.code, errors.count("\n")) == (gate.FAILED, 1), errors
    assert errors.startswith(f"mmbd: {made}")
    assert not (tmp_path / "f.safetensors").exists()


CAPPED = """
import resource, sys
from mmbd.data import read as data
from mmbd.base.errors import Failed
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for file in sys.argv[1:]:
    try:
        data.load(file, size=(8, 8), points=9)
    except Failed as error:
        print("refused")
# Its own memory at the most: what `getrusage` says of a child may be its parent's.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_small_files_do_not_exhaust_memory(tmp_path):
    files = [
        parquet(tmp_path / "label.parquet", [small_png()], [10**12]),
        parquet(tmp_path / "large.parquet", [png(13_000, 13_000)] * 3, [0, 1, 2]),
        hdf5(tmp_path / "label.h5", (0, 10**12)),
        npz(tmp_path / "a.npz", header("(2, 350000000000)")),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, *map(str, files)], capture_output=True, text=True, timeout=600
    )
    *answers, kilobytes = done.stdout.split()
    assert answers == ["refused"] * 4, done.stderr
    assert int(kilobytes) < 2 << 20
