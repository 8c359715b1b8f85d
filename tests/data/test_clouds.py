"""Generated point clouds, and clouds from OFF and HDF5 files, whole and broken."""

from __future__ import annotations

import math
import sys

import h5py
import numpy as np
import pytest
import torch

from mmbd.base.seeds import generator_for
from mmbd.data import generated as clouds
from mmbd.data import read as data
from mmbd.data.meshes import Mesh, cuboid, lathe, normalised, on_surface, tube
from mmbd.data.solids import SOLIDS

# --------------------------------------------------------------------------------------- meshes


def area(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2)


def test_points_are_uniform_on_the_surface():
    """On a 1 x 1 x 8 box the two ends hold 2 of 34 parts, and each half as much as the other."""
    box = cuboid((1.0, 1.0, 8.0))
    points = on_surface(box, 100_000, generator_for("surface"))
    at_edge = ((points.abs() - torch.tensor([[0.5], [0.5], [4.0]])).abs() < 1e-5).any(0)
    assert bool(at_edge.all())
    for share, expected in (
        (points[2].abs() > 3.99999, 2 / 34),
        (points[2] > 0, 1 / 2),
        (points[0] > 0.499, 8 / 34),
        (points[2].abs() < 1, 8 / 34),
    ):
        spread = math.sqrt(expected * (1 - expected) / 100_000)
        assert abs(float(share.double().mean()) - expected) < 5 * spread + 1e-3 * expected


def test_areas_of_the_building_blocks():
    assert area(cuboid((1.0, 2.0, 3.0))) == pytest.approx(22)
    cylinder = lathe([(0.0, 0.0), (1.0, 0.0), (1.0, 3.0), (0.0, 3.0)], sides=400)
    assert area(cylinder) == pytest.approx(8 * math.pi, rel=1e-3)
    straight = torch.stack((torch.zeros(20), torch.zeros(20), torch.linspace(0, 5, 20)), dim=1)
    pipe = tube(straight, 0.5, up=(1.0, 0.0, 0.0), sides=400)
    assert area(pipe) == pytest.approx(5 * math.pi, rel=1e-3)
    assert area(pipe.moved((1.0, 2.0, 3.0)) + pipe) == pytest.approx(10 * math.pi, rel=1e-3)
    assert area(pipe.stretched((2.0, 2.0, 2.0))) == pytest.approx(20 * math.pi, rel=1e-3)


def test_a_mesh_without_a_surface():
    line = Mesh(torch.tensor([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), torch.tensor([[0, 1, 2]]))
    for mesh in (line, Mesh(line.vertices, torch.empty(0, 3, dtype=torch.int64))):
        with pytest.raises(ValueError, match="no surface"):
            on_surface(mesh, 5, torch.Generator())


def test_normalised_clouds_fill_the_unit_ball():
    batch = 5 + 3 * torch.randn(4, 3, 60, generator=generator_for("clouds"))
    ready = normalised(batch)
    torch.testing.assert_close(ready.mean(2), torch.zeros(4, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(ready.norm(dim=1).amax(1), torch.ones(4))
    assert float(ready.abs().max()) <= 1  # exactly: rounding leaves no cube
    torch.testing.assert_close(normalised(batch[1]), ready[1])
    assert torch.equal(normalised(torch.ones(3, 7)), torch.zeros(3, 7))


# ------------------------------------------------------------------------------------ generator


def test_generated_clouds_are_what_they_say():
    made = clouds.generate(2, points=64)
    assert len(made.names) >= 10
    assert made.names == tuple(SOLIDS)
    assert made.inputs.shape == (2 * len(SOLIDS), 3, 64)
    assert made.inputs.dtype == torch.float32
    assert made.labels.tolist() == [label for label in range(len(SOLIDS)) for _ in range(2)]
    torch.testing.assert_close(made.inputs.norm(dim=1).amax(1), torch.ones(2 * len(SOLIDS)))


def test_a_cloud_depends_on_seed_class_and_number_alone():
    few = clouds.generate(2, classes=("torus", "chair"), points=40, seed=3)
    torch.manual_seed(7)
    many = clouds.generate(4, classes=("chair", "box", "torus"), points=40, seed=3)
    assert torch.equal(few.inputs[:2], many.inputs[8:10])
    assert torch.equal(few.inputs[2:], many.inputs[:2])
    other = clouds.generate(2, classes=("torus", "chair"), points=40, seed=4)
    assert not bool((other.inputs == few.inputs).all(2).all(1).any())


@pytest.mark.parametrize("name", SOLIDS)
def test_objects_of_a_class_vary_in_shape(name):
    """Not only in pose and points: their second moments, which no turn changes, differ."""
    made = clouds.generate(8, classes=(name,), points=512, noise=0)
    moments = torch.stack([torch.linalg.eigvalsh(cloud @ cloud.T / 512) for cloud in made.inputs])
    assert float((moments.std(0) / moments.mean(0)).max()) > 0.05
    # ... and the third axis is vertical: what turns is the plan.
    level = [cloud[:2] @ cloud[:2].T for cloud in made.inputs]
    turned = torch.stack([torch.linalg.eigh(plan)[1][1, 1].abs() for plan in level])
    assert float(turned.std()) > 0.1


def features(inputs: torch.Tensor) -> torch.Tensor:
    """Heights and distances from the vertical axis, sorted: no pose changes them."""
    height, distance = inputs[:, 2], inputs[:, :2].norm(dim=1)
    return torch.cat((height.sort(1).values, distance.sort(1).values), dim=1)


def test_classes_can_be_told_apart():
    training, test = (clouds.generate(30, points=64, seed=seed) for seed in (0, 1))
    near = torch.cdist(features(test.inputs), features(training.inputs)).argmin(1)
    right = training.labels[near] == test.labels
    assert float(right.double().mean()) > 0.6  # of 14 classes, by the nearest neighbour
    for label in range(len(training.names)):
        assert float(right[test.labels == label].double().mean()) > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("chair", "sofa")}, "unknown class 'sofa'; known: box, "),
        ({"classes": ()}, "0 classes"),
        ({"count": 0}, "count=0"),
        ({"points": 0}, "points=0"),
    ],
)
def test_what_cannot_be_generated(options, message):
    with pytest.raises(ValueError, match=message):
        clouds.generate(**({"count": 1, "points": 8} | options))


# ------------------------------------------------------------------------------------ OFF files

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
    mesh = clouds.read_off(file)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]


def test_polygons_become_triangles(tmp_path):
    file = tmp_path / "square.off"
    file.write_text("OFF\n5 3 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 2 0\n5 0 1 2 4 3\n2 0 1\n4 0 1 2 3\n")
    assert clouds.read_off(file).faces.tolist() == [[0, 1, 2], [0, 2, 4], [0, 4, 3], [0, 1, 2], [0, 2, 3]]


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
        clouds.read_off(file)
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
    assert not torch.equal(clouds.read_folder(tmp_path, points=50, seed=1).inputs, read.inputs[1:])


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
        clouds.read_hdf5(tmp_path / "none.h5")


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
