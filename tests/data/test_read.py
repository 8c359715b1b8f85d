"""Reading labelled images and sounds: Parquet as on the hub, folders by class, NumPy files."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

from helpers.toy_networks import shared
from mmbd.data import read as data
from mmbd.data.dataset import Dataset


def pixels(count: int, size=(6, 5), seed: int = 0) -> np.ndarray:
    """Random images (count, height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def parquet(path, column, blobs, labels, names=None, label_name="label"):
    """A Parquet file in the layout of the Hugging Face hub."""
    rows = [{"bytes": blob, "path": None} for blob in blobs]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(rows, kind), label_name: labels})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": info.encode()})
    pq.write_table(table, path)
    return path


# -------------------------------------------------------------------------------------- Parquet


@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_images(tmp_path, column):
    images = pixels(4)
    file = parquet(tmp_path / "x.parquet", column, map(png, images), [2, 0, 1, 2], ["a", "b", "c"])
    read = data.load(file)
    assert read.inputs.dtype == torch.uint8
    assert torch.equal(read.inputs, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert read.labels.dtype == torch.int64
    assert read.labels.tolist() == [2, 0, 1, 2]
    assert read.names == ("a", "b", "c")
    assert len(read) == 4
    first = data.load(str(file), limit=2)
    assert torch.equal(first.inputs, read.inputs[:2])
    assert first.names == read.names


def test_parquet_without_names_numbers_the_classes(tmp_path):
    file = parquet(tmp_path / "x.parquet", "img", map(png, pixels(3)), [0, 4, 1])
    assert data.load(file).names == ("0", "1", "2", "3", "4")


def test_names_must_cover_the_labels(tmp_path):
    file = parquet(tmp_path / "x.parquet", "img", map(png, pixels(2)), [0, 2], ["a", "b"])
    with pytest.raises(ValueError, match=r"labels run from 0 to 2, expected 0 to 1 \(2 class"):
        data.load(file)
    unlabelled = parquet(tmp_path / "y.parquet", "img", map(png, pixels(2)), [-1, -1], ["a"])
    with pytest.raises(ValueError, match="labels run from -1 to -1"):
        data.load(unlabelled)


def test_grey_size_and_crop(tmp_path):
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[2:6, 2:6] = (255, 0, 0)  # the central half of each side is red
    file = parquet(tmp_path / "x.parquet", "img", [png(image)], [0])
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    assert torch.equal(data.load(file, crop=0.5).inputs[0], red.expand(3, 4, 4))
    assert torch.equal(data.load(file, crop=0.5, size=(2, 3)).inputs[0], red.expand(3, 2, 3))
    grey = data.load(file, grey=True).inputs
    assert grey.shape == (1, 1, 8, 8)
    assert int(grey[0, 0, 4, 4]) == 76  # ITU-R 601: 0.299 of 255
    assert data.load(file, size=(16, 10)).inputs.shape == (1, 3, 16, 10)


def test_parquet_sounds(tmp_path):
    wave = np.linspace(-1, 1, 12, dtype=np.float32)
    stereo = np.stack([wave, -wave], axis=1)
    blobs = [wav(wave), wav(stereo), wav(wave[:5])]
    file = parquet(tmp_path / "x.parquet", "audio", blobs, [0, 1, 1], ["yes", "no"])
    read = data.load(file, samples=8)
    assert read.inputs.dtype == torch.float32
    assert read.inputs.shape == (3, 1, 8)
    torch.testing.assert_close(read.inputs[0, 0], torch.from_numpy(wave[:8]))  # cut
    assert read.inputs[1].abs().max() < 1e-6  # the mean of both channels
    torch.testing.assert_close(read.inputs[2, 0, :5], torch.from_numpy(wave[:5]))
    assert read.inputs[2, 0, 5:].tolist() == [0.0, 0.0, 0.0]  # padded


@pytest.mark.parametrize("labels", [["cat", "dog"], [0, None], [0.5, 1.0]])
def test_labels_must_be_whole_numbers(tmp_path, labels):
    file = parquet(tmp_path / "x.parquet", "img", map(png, pixels(2)), labels)
    with pytest.raises(ValueError, match="whole numbers as labels"):
        data.load(file)


@pytest.mark.parametrize("column", ["img", "audio"])
@pytest.mark.parametrize("blob", [b"nonsense", None])
def test_a_row_that_cannot_be_decoded_is_named(tmp_path, column, blob):
    file = parquet(tmp_path / "x.parquet", column, [blob, blob], [0, 1])
    with pytest.raises(ValueError, match=r"x\.parquet: row 0 cannot be decoded"):
        data.load(file, size=(8, 8))


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    for name, content in (("a", png(pixels(1)[0])), ("b", png(pixels(1)[0])[:60])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"b.1\.png cannot be decoded"):
        data.load(tmp_path)


def test_parquet_without_the_columns(tmp_path):
    file = parquet(tmp_path / "x.parquet", "picture", map(png, pixels(1)), [0])
    with pytest.raises(ValueError, match=r"found \['picture', 'label'\]"):
        data.load(file)
    other = parquet(tmp_path / "y.parquet", "img", map(png, pixels(1)), [0], label_name="fine")
    with pytest.raises(ValueError, match=r"found \['img', 'fine'\]"):
        data.load(other)


def test_parquet_without_rows(tmp_path):
    file = parquet(tmp_path / "x.parquet", "audio", [], pa.array([], pa.int64()))
    with pytest.raises(ValueError, match="no rows"):
        data.load(file)


def test_images_of_two_sizes_need_a_size(tmp_path):
    blobs = [png(pixels(1)[0]), png(pixels(1, (7, 7))[0])]
    file = parquet(tmp_path / "x.parquet", "img", blobs, [0, 1])
    with pytest.raises(ValueError, match="differ in size"):
        data.load(file)
    assert data.load(file, size=(4, 4)).inputs.shape == (2, 3, 4, 4)


# -------------------------------------------------------------------------- folders and NumPy


def test_folder_by_class(tmp_path):
    images = pixels(3)
    for name, image in (("dog/2.PNG", 0), ("cat/b.png", 1), ("cat/a.png", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(images[image]))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "README.md").write_text("not a class")
    (tmp_path / ".cache").mkdir()
    read = data.load(tmp_path)
    assert read.names == ("cat", "dog")
    assert read.labels.tolist() == [0, 0, 1]
    order = images[[2, 1, 0]].transpose(0, 3, 1, 2)  # by class, then by file name
    assert torch.equal(read.inputs, torch.from_numpy(order.copy()))
    assert data.load(tmp_path, limit=1).labels.tolist() == [0]


def test_folder_without_images(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="one folder of images per class"):
        data.load(tmp_path)


def test_numpy(tmp_path):
    x = pixels(3).transpose(0, 3, 1, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([1, 0, 1], dtype=np.int32))
    read = data.load(tmp_path / "a.npz")
    assert torch.equal(read.inputs, torch.from_numpy(x.copy()))
    assert (read.labels.tolist(), read.names) == ([1, 0, 1], ("0", "1"))
    assert len(data.load(tmp_path / "a.npz", limit=2)) == 2
    np.savez(tmp_path / "b.npz", x=x, y=np.array([1, 0, 1]), names=np.array(["no", "yes"]))
    assert data.load(tmp_path / "b.npz").names == ("no", "yes")


def test_numpy_errors(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros(3), y=np.zeros(3))
    with pytest.raises(ValueError, match=r"arrays x and y, found \['images', 'y'\]"):
        data.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((3, 2)), y=np.zeros(2))
    with pytest.raises(ValueError, match="3 inputs but 2 labels"):
        data.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.array([{}, {}], dtype=object), y=np.zeros(2))
    with pytest.raises(ValueError, match=r"c\.npz: .*allow_pickle=False"):  # pickles are not run
        data.load(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"d\.npz: no \.npz archive"):
        data.load(tmp_path / "d.npz")


@pytest.mark.parametrize("labels", [[0.5, 1], [0, np.nan], ["0", "1"], [[1, 0], [0, 1]]], ids=str)
def test_numpy_labels_must_be_whole_numbers(tmp_path, labels):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=np.array(labels))
    with pytest.raises(ValueError, match=r"a\.npz: expected a whole number a sample as labels y"):
        data.load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=np.array([0.0, 1.0]))
    assert data.load(tmp_path / "a.npz").labels.tolist() == [0, 1]


def test_what_is_not_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data at"):
        data.load(tmp_path / "absent.parquet")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"x\.csv: expected clouds:N, .* images by class; a \.parquet file"):
        data.load(tmp_path / "x.csv")


# -------------------------------------------------------------------------------------- Dataset


def test_take_and_classes():
    whole = Dataset(torch.arange(6)[:, None], torch.tensor([0, 1, 2, 2, 1, 0]), ("a", "b", "c"))
    taken = whole.take(torch.tensor([3, 0]))
    assert (taken.inputs.flatten().tolist(), taken.labels.tolist()) == ([3, 0], [2, 0])
    kept = whole.classes([2, 0])
    assert kept.names == ("c", "a")
    assert kept.inputs.flatten().tolist() == [0, 2, 3, 5]
    assert kept.labels.tolist() == [1, 0, 0, 1]


def test_the_shared_sets_load():
    images = data.load(shared("data", "cifar10", "test.parquet"), limit=20)
    assert images.inputs.shape == (20, 3, 32, 32)
    assert images.names[:3] == ("airplane", "automobile", "bird")
    sounds = data.load(shared("data", "speech_commands", "test.parquet"), limit=5)
    assert sounds.inputs.shape == (5, 1, 8000)
    assert 0 < float(sounds.inputs.abs().max()) <= 1
