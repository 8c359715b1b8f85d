"""NumPy and HDF5 files of strangers: no objects, no links, and no more memory than they have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers.hostile_data import hdf5, header, npz
from mmbd.base.errors import Failed
from mmbd.data import read as data


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (header("(2, 350000000000)"), r"claims 2,800,000,000,000 bytes and has 128"),
        (header("(2, 8, 10000000000000000000)"), "claims 640,000,000,000,000,000,000 bytes"),
        (header("(2, 600, 600, 1000)") + bytes(2_880_000_000 // 10), "damaged"),
        (header("()") + bytes(4), "a single value"),
        (header("(2,)", "'<U3'") + bytes(24), "holds <U3; expected numbers"),
        (header("(2,)", "'<c8'") + bytes(16), "holds complex64; expected numbers"),
        (header("(2,)", "'|O'") + b"cos\nsystem\n", "holds Python objects"),
        (header("(2,)", "[('a', '<f4')]") + bytes(8), "expected numbers"),
        (header("(2,)", "'<f16'") + bytes(32), "torch has no tensors of x's type"),
        (header("(2, -3)") + bytes(32), "no NumPy array"),
        (header("[" * 2000), "no NumPy array"),
        (b"\x93NUMPY\x09\x00", "no NumPy array"),
        (b"\x80\x04cos\nsystem\n.", "no NumPy array"),
        (b"", "no NumPy array"),
    ],
    ids=range(14),
)
def test_arrays_that_are_none(tmp_path, x, message):
    with pytest.raises(Failed, match=rf"a\.npz: .*({message})") as caught:
        data.load(npz(tmp_path / "a.npz", x))
    assert "\n" not in str(caught.value)


def test_a_small_archive_cannot_unfold_to_gigabytes(tmp_path):
    rows = 300 << 20  # of one byte each
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(header(f"({rows},)", "'|u1'"))
            for _ in range(300):
                member.write(bytes(1 << 20))
        archive.writestr("y.npy", header("(2,)", "'<i8'") + bytes(16))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(Failed, match=r"would take more than 268 MB, .*fewer or smaller samples"):
        data.load(tmp_path / "a.npz")


def test_an_encrypted_archive(tmp_path):
    file = npz(tmp_path / "a.npz", header("(2,)") + bytes(8))
    content = bytearray(file.read_bytes())
    for place in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    file.write_bytes(content)
    with pytest.raises(Failed, match=r"a\.npz: x\.npy is encrypted"):
        data.load(file)


def test_names_that_are_no_list(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=[0, 1], names=np.array("a"))
    with pytest.raises(Failed, match=r"names\.npy is a single value"):
        data.load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=[0, 1], names=np.array([["a"], ["b"]]))
    with pytest.raises(Failed, match=r"names are an array of shape \(2, 1\)"):
        data.load(tmp_path / "a.npz")


def test_other_byte_orders_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([[1.5], [2.5]], dtype=">f8"), y=np.array([0, 1], ">i4"))
    read = data.load(tmp_path / "a.npz")
    assert (read.inputs.flatten().tolist(), read.labels.tolist()) == ([1.5, 2.5], [0, 1])


def test_links_and_outside_storage_are_not_followed(tmp_path):
    secret = hdf5(tmp_path / "secret.h5")
    raw = tmp_path / "secret.raw"
    raw.write_bytes(bytes(216))

    def made(name: str, change) -> Path:
        file = hdf5(tmp_path / f"{name}.h5")
        with h5py.File(file, "a") as content:
            content["other"] = content["data"][()]
            del content["data"]
            change(content)
        return file

    def virtual(content) -> None:
        layout = h5py.VirtualLayout((2, 9, 3), "f4")
        layout[:] = h5py.VirtualSource(secret, "data", (2, 9, 3))
        content.create_virtual_dataset("data", layout)

    changes = {
        "external": lambda content: content.__setitem__("data", h5py.ExternalLink(secret, "/data")),
        "soft": lambda content: content.__setitem__("data", h5py.SoftLink("/other")),
        "dangling": lambda content: content.__setitem__("data", h5py.SoftLink("/nowhere")),
        "circular": lambda content: content.__setitem__("data", h5py.SoftLink("/data")),
        "virtual": virtual,
        "raw": lambda content: content.create_dataset("data", (2, 9, 3), "f4", external=[(str(raw), 0, 216)]),
    }
    for name, change in changes.items():
        words = "link to elsewhere" if name not in ("virtual", "raw") else "kept in other files"
        with pytest.raises(Failed, match=rf"{name}\.h5: .*{words}"):
            data.load(made(name, change), points=9)
    with h5py.File(hdf5(tmp_path / "odd.h5"), "a") as content:
        content["stray"] = h5py.SoftLink("/nowhere")  # where nobody looks, it does no harm
    assert len(data.load(tmp_path / "odd.h5", points=9)) == 2


def test_hdf5_that_claims_too_much(tmp_path):
    def made(**shapes) -> Path:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, (shape, kind, chunks) in shapes.items():
                file.create_dataset(name, shape, kind, chunks=chunks, compression=9)
        return tmp_path / "a.h5"

    for file in (
        made(data=((10**9, 9, 3), "f4", (1, 9, 3)), label=((10**9,), "i8", (1,))),
        made(data=((2, 10**9, 3), "f4", (2, 2 * 10**7, 3)), label=((2,), "i8", (2,))),
    ):
        assert file.stat().st_size < 1 << 20
        with pytest.raises(Failed, match=r"a\.h5: the samples would take more than 268 MB"):
            data.load(file, points=9)
