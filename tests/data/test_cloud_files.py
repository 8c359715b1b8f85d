"""Point clouds from OFF and HDF5 files, whole and broken."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import torch

from mmbd.data import cloud_files
from mmbd.data import read as data
from mmbd.data.meshes import normalised

TETRAHEDRON = "4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        "OFF\n" + TETRAHEDRON,
        "OFF" + TETRAHEDRON,  # as many files of ModelNet40
        "OFF 4 4 6" + TETRAHEDRON[5:],
        "\ufeffOFF # made by hand\n\n# counts\n" + TETRAHEDRON.replace("\n", "  # x\r\n"),
        "OFF\n" + TETRAHEDRON.replace("3 0 1 2", "3 0 1 2 255 0 0"),  # colours
        "OFF\n" + TETRAHEDRON.replace("4 4 6", "4 4"),
    ],
)
def test_off_files(tmp_path, text):
    file = tmp_path / "solid.off"
    file.write_bytes(text.encode())
    mesh = cloud_files.read_off(file)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]


def test_polygons_become_triangles(tmp_path):
    file = tmp_path / "square.off"
    file.write_text("OFF\n5 3 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 2 0\n5 0 1 2 4 3\n2 0 1\n4 0 1 2 3\n")
    assert cloud_files.read_off(file).faces.tolist() == [
        [0, 1, 2],
        [0, 2, 4],
        [0, 4, 3],
        [0, 1, 2],
        [0, 2, 3],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "numbers of vertices and faces"),
        ("PLY\nOFF\n" + TETRAHEDRON, "expected 'OFF' first, found 'PLY"),
        ("COFF\n" + TETRAHEDRON, "expected 'OFF' first, found 'C'"),
        ("OFF\n4\n", r"numbers of vertices and faces after 'OFF', found \['4'\]"),
        ("OFF\nfour 4 6\n", "'four'"),
        ("OFF\n" + TETRAHEDRON.replace("4 4 6", "4 5 6"), "5 faces are announced, 8 lines follow"),
        ("OFF\n" + TETRAHEDRON.replace("4 4 6", "-1 4 6"), "-1 vertices"),
        ("OFF\n" + TETRAHEDRON.replace("4 4 6", f"{10**12} {10**12} 6"), "8 lines follow"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0", "1 0"), "three finite numbers"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0", "1 0 nan"), "three finite numbers"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0", "1 0 x"), "'x'"),
        ("OFF\n" + TETRAHEDRON.replace("3 0 1 2", "3 0 1 4"), "face '3 0 1 4' has no such"),
        ("OFF\n" + TETRAHEDRON.replace("3 0 1 2", "3 0 1 -1"), "has no such vertices"),
        ("OFF\n" + TETRAHEDRON.replace("3 0 1 2", "4 0 1 2"), "has no such vertices"),
        ("OFF\n" + TETRAHEDRON.replace("3 0 1 2", "-3 0 1 2"), "has no such vertices"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0", "\udcff 0 0"), "utf-8"),
    ],
)
def test_broken_off_files_are_named(tmp_path, text, message):
    file = tmp_path / "broken.off"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        cloud_files.read_off(file)
    assert "broken.off" in str(caught.value)


def solid(path, text=TETRAHEDRON):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("OFF\n" + text)


def test_folders_of_meshes_by_class(tmp_path):
    solid(tmp_path / "pyramid" / "b.off")
    solid(tmp_path / "pyramid" / "a.off", TETRAHEDRON.replace("0 0 1\n", "0 0 9\n"))
    solid(tmp_path / "bar" / "c.off")
    (tmp_path / "bar" / "notes.txt").write_text("not a mesh")
    (tmp_path / ".hidden").mkdir()
    read = data.load(tmp_path, points=50)
    assert read.names == ("bar", "pyramid")
    assert read.labels.tolist() == [0, 1, 1]
    assert read.inputs.shape == (3, 3, 50)
    torch.testing.assert_close(read.inputs.norm(dim=1).amax(1), torch.ones(3))
    assert float(read.inputs[1].std(1)[2]) > 2 * float(read.inputs[1].std(1)[0])  # the tall one
    # A cloud depends on its file, not on what else is there; another file gives other points.
    assert torch.equal(data.load(tmp_path, points=50).inputs, read.inputs)
    (tmp_path / "bar" / "c.off").unlink()
    assert torch.equal(data.load(tmp_path, points=50).inputs, read.inputs[1:])
    assert data.load(tmp_path, points=50, limit=1).labels.tolist() == [1]
    assert not torch.equal(cloud_files.read_folder(tmp_path, points=50, seed=1).inputs, read.inputs[1:])


def test_folders_with_splits(tmp_path):
    solid(tmp_path / "pyramid" / "train" / "a.off")
    solid(tmp_path / "pyramid" / "test" / "b.off")
    solid(tmp_path / "bar" / "test" / "c.off")
    assert data.load(tmp_path, points=8, split="train").labels.tolist() == [1]
    test = data.load(tmp_path, points=8, split="test")
    assert test.labels.tolist() == [0, 1]
    assert test.names == ("bar", "pyramid")
    with pytest.raises(ValueError, match="give split, one of test, train"):
        data.load(tmp_path)
    with pytest.raises(ValueError, match="give split, one of test, train"):
        data.load(tmp_path, split="val")


def test_a_broken_mesh_in_a_folder_is_named(tmp_path):
    solid(tmp_path / "flat" / "ok.off")
    solid(tmp_path / "flat" / "line.off", "3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n")
    with pytest.raises(ValueError, match=r"line\.off: the mesh has no surface"):
        data.load(tmp_path)


# ----------------------------------------------------------------------------------- HDF5 files


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_hdf5(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
    labels = np.array([[2], [0], [2], [1]], dtype=np.uint8)
    file = hdf5(tmp_path / "train.h5", data=rows, label=labels, normal=rows)
    read = data.load(file, points=16)
    expected = normalised(torch.from_numpy(rows[:, :16].transpose(0, 2, 1).copy()))
    torch.testing.assert_close(read.inputs, expected)
    assert read.labels.tolist() == [2, 0, 2, 1]
    assert read.labels.dtype == torch.int64
    assert read.names == ("0", "1", "2")
    assert data.load(file, points=16, limit=2).labels.tolist() == [2, 0]
    flat = hdf5(tmp_path / "flat.hdf5", data=rows, label=labels[:, 0])
    assert torch.equal(data.load(flat, points=16).inputs, read.inputs)
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\nbed\nbench\n")
    assert data.load(file, points=16).names == ("airplane", "bathtub", "bed", "bench")


ROWS = np.zeros((2, 9, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": ROWS}, r"arrays data and label, found \['data'\]"),
        ({"data": ROWS, "label": [0]}, r"found \(2, 9, 3\) and 1"),
        ({"data": ROWS[:, :, :2], "label": [0, 1]}, r"found \(2, 9, 2\) and 2"),
        ({"data": ROWS[0], "label": [0] * 9}, r"found \(9, 3\) and 9"),
        ({"data": ROWS[:, :5], "label": [0, 1]}, "clouds have 5 points, and 9 are asked for"),
        ({"data": ROWS + np.nan, "label": [0, 1]}, "not finite"),
        ({"data": ROWS, "label": [0, -1]}, "labels run from -1 to 0"),
        ({"data": np.full((2, 9, 3), b"x"), "label": [0, 1]}, r"expected numbers in data, found \|S1"),
        ({"data": ROWS, "label": ["a", "b"]}, "expected numbers in label, found object"),
        ({"data": ROWS, "label": "a"}, "expected numbers in label, found object"),
        ({"data": ROWS, "label": 0}, r"found \(2, 9, 3\) and 1"),
        ({"data": ROWS, "label": [0.5, 1]}, "whole number a sample as labels label"),
        ({"data": ROWS, "label/inside": [0, 1]}, "arrays data and label, found"),
    ],
)
def test_broken_hdf5_files_are_named(tmp_path, arrays, message):
    file = hdf5(tmp_path / "broken.h5", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(file, points=9)
    assert "broken.h5: " in str(caught.value)


def test_what_is_no_hdf5_file(tmp_path):
    file = tmp_path / "broken.h5"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"broken\.h5: .*signature"):
        data.load(file)
    with pytest.raises(FileNotFoundError):
        cloud_files.read_hdf5(tmp_path / "none.h5")


def test_names_that_do_not_cover_the_labels(tmp_path):
    file = hdf5(tmp_path / "train.h5", data=ROWS, label=[0, 2])
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\n")
    with pytest.raises(ValueError, match=r"train\.h5: labels run from 0 to 2, expected 0 to 1"):
        data.load(file, points=9)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    file = hdf5(tmp_path / "train.h5", data=ROWS, label=[0, 1])

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'mmbd\[points\]'"):
        data.load(file, points=9)
