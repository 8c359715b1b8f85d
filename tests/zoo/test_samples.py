"""The samples of a job: what is read, what is drawn, and every bad data set named."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmbd.data.dataset import Dataset
from mmbd.training import loop as train
from mmbd.zoo import samples
from mmbd.zoo.job import ArchPlan, AttackPlan, DataPlan, Job
from mmbd.zoo.samples import Samples, choose


def npz(path, x, y, names=None):
    np.savez(path, x=x, y=np.asarray(y), **({} if names is None else {"names": np.array(names)}))


def images(count: int, size: int = 4) -> np.ndarray:
    shape = (count, 1, size, size)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


def write(
    folder, *, x=None, y=(0, 1, 2, 0, 1, 2), names=None, test_x=None, test_y=(0, 1, 2), test_names=None
):
    npz(folder / "train.npz", images(6) if x is None else x, y, names)
    npz(folder / "test.npz", images(3) if test_x is None else test_x, test_y, test_names)


def load(folder, **options):
    samples.load.cache_clear()
    return samples.load(DataPlan("digits", "train.npz", "test.npz", **options), folder)


def test_both_splits_are_read_once(tmp_path):
    write(tmp_path, names=["a", "b", "c"], test_names=["a", "b", "c"])
    read = load(tmp_path)
    assert read.shape == (1, 4, 4)
    assert read.names == ("a", "b", "c")
    assert (len(read.training), len(read.test), read.bounds) == (6, 3, (0.0, 1.0))
    (tmp_path / "train.npz").unlink()
    plan = DataPlan("digits", "train.npz", "test.npz")
    assert samples.load(plan, tmp_path) is read


def test_classes_by_name_or_number_and_the_same_limit_every_time(tmp_path):
    y = np.arange(60) % 3
    write(tmp_path, x=images(60), y=y, names=["a", "b", "c"])
    read = load(tmp_path, classes=("c", 0), limit=20, test_limit=1)
    assert read.names == ("c", "a")
    assert (len(read.training), len(read.test)) == (20, 1)
    again = load(tmp_path, classes=("c", 0), limit=20, test_limit=1)
    assert torch.equal(read.training.inputs, again.training.inputs)
    assert read.digests == again.digests
    whole = load(tmp_path, classes=("c", 0))
    assert read.digests["train"] != whole.digests["train"]
    assert set(read.training.labels.tolist()) == {0, 1}  # drawn, not the first ones


def test_the_digest_is_of_the_samples():
    data = Dataset(torch.tensor([[1, 2]], dtype=torch.uint8), torch.tensor([0]), ("a",))
    expected = hashlib.sha256(
        b"torch.uint8 (1, 2)" + bytes([1, 2]) + b"torch.int64 (1,)" + bytes(8)
    ).hexdigest()
    assert samples.digest(data) == expected


def test_generated_clouds(tmp_path):
    plan = DataPlan("clouds", "clouds:3", "clouds:2", points=16)
    read = samples.load(plan, tmp_path)
    assert read.shape == (3, 16)
    assert read.bounds == (-1.0, 1.0)
    assert len(read.training) == 3 * len(read.names)
    assert not torch.equal(read.training.inputs[:2], read.test.inputs[:2])
    with pytest.raises(ValueError, match=r"data set 'x': clouds:many: expected how many"):
        samples.load(DataPlan("x", "clouds:many", "clouds:2"), tmp_path)


FLOATS = np.linspace(-2, 2, 6 * 8, dtype=np.float64).reshape(6, 1, 8)


@pytest.mark.parametrize(
    ("written", "options", "message"),
    [
        ({"y": [0, 1, 3, 0, 1, 3]}, {}, "no training samples of class 2"),
        (
            {"names": ["a", "b", "c", "d", "e", "f", "g", "h"]},
            {},
            "no training samples of class d, e, f and 2 more",
        ),
        ({"names": ["a", "b"]}, {}, r"labels run from 0 to 2, expected 0 to 1"),
        ({"y": [-1, 0, 1, 2, 0, 1]}, {}, r"train\.npz: labels run from -1 to 2"),
        ({"test_y": [-1, 0, 1]}, {}, r"test\.npz: labels run from -1 to 1"),
        ({"x": images(0), "y": []}, {}, "training set has no samples"),
        ({"test_y": [0, 1, 3]}, {}, "label 3, out of range: the training set has classes 0 to 2"),
        ({"names": ["a", "b", "c"], "test_names": ["a", "c", "b"]}, {}, "classes of the splits"),
        ({"y": [0] * 6, "test_y": [0] * 3}, {}, "1 class; a classifier needs at least two"),
        ({"test_x": images(3, 5)}, {}, r"are \(1, 4, 4\) uint8 and test samples \(1, 5, 5\) uint8"),
        ({"x": images(6).astype(np.int64)}, {}, "expected 8-bit or floating-point samples"),
        ({"x": FLOATS, "test_x": FLOATS[:3]}, {}, "values from -2 to 2, outside -1 to 1: give b"),
        ({"test_y": [], "test_x": images(0)}, {}, "test set has no samples"),
        ({}, {"classes": ("x", 1)}, r"unknown class 'x'"),
        ({}, {"classes": (1, 3)}, "class 3 is out of range: the data has 0 to 2"),
        ({}, {"classes": (1, "1")}, "name one of them twice"),
        ({}, {"size": (8, 8)}, r"train\.npz: size, crop and grey are for images"),
        ({}, {"limit": 0}, "limit on samples must be at least 1"),
        ({}, {"bounds": (-1.0, 1.0)}, "8-bit images lie in 0 to 1"),
    ],
)
def test_bad_data_is_named(tmp_path, written, options, message):
    write(tmp_path, **written)
    with pytest.raises(ValueError, match=f"^data set 'digits': .*{message}"):
        load(tmp_path, **options)


# NumPy leaves a broken archive open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_broken_data_is_named(tmp_path, content):
    write(tmp_path)
    (tmp_path / "test.npz").write_bytes(content)
    with pytest.raises(ValueError, match="data set 'digits'"):
        load(tmp_path)


def test_no_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data set 'digits': no data at .*train\.npz"):
        load(tmp_path)


def test_sounds_and_floats(tmp_path):
    write(tmp_path, x=FLOATS / 2, test_x=FLOATS[:3] / 2)
    read = load(tmp_path)
    assert (read.bounds, read.training.inputs.dtype) == ((-1.0, 1.0), torch.float32)
    write(tmp_path, x=FLOATS, test_x=FLOATS[:3])
    assert load(tmp_path, bounds=(-3.0, 3.0)).bounds == (-3.0, 3.0)


# ------------------------------------------------------------------------- sources and targets


def held(counts, test=None) -> Samples:
    """Samples with so many of each class; the inputs do not matter."""

    def part(numbers):
        labels = torch.cat([torch.full((n,), c) for c, n in enumerate(numbers)])
        names = tuple(f"class {c}" for c in range(len(numbers)))
        return Dataset(torch.zeros(len(labels), 1, dtype=torch.uint8), labels, names)

    return Samples(part(counts), part(test or [1] * len(counts)), (0.0, 1.0), {})


def job(draw: int = 0, **attack) -> Job:
    attack = {"name": "a", "kind": "badnet", **attack}
    return Job(
        "j", DataPlan("d", "", ""), ArchPlan("n", "mlp"), AttackPlan(**attack), train.Recipe(), 0, draw
    )


@given(draw=st.integers(0, 2**32 - 1), sources=st.sampled_from(["S", "M", 3]))
def test_what_is_drawn_fits_and_repeats(draw, sources):
    data = held([50, 10, 50, 50, 50, 50])
    chosen, target = choose(job(draw, sources=sources, options={"count": 20}), data)
    assert target not in chosen
    assert chosen == tuple(sorted(set(chosen)))
    assert len(chosen) == {"S": 1, "M": 5, 3: 3}[sources]
    if sources == "S":
        assert chosen != (1,)  # holds fewer than twice the 20 to poison
    again = choose(job(draw, sources=sources, options={"count": 20}), data)
    assert again == (chosen, target)


def test_every_class_can_be_the_target():
    data = held([5] * 4)
    drawn = [choose(job(draw, sources="S", options={"count": 1}), data) for draw in range(200)]
    assert {(chosen[0], target) for chosen, target in drawn} == {
        (a, b) for a in range(4) for b in range(4) if a != b
    }


def test_given_classes_are_taken():
    data = held([5] * 4)
    assert choose(job(sources=(3, "class 1"), target="class 0"), data) == ((3, 1), 0)
    for draw in range(20):  # a drawn target keeps out of their way
        chosen, target = choose(job(draw, sources=(3, 1)), data)
        assert (chosen, target in (0, 2)) == ((3, 1), True)
    assert choose(job(kind="wanet", sources="S", target=0, options={"rate": 0.1}), data)[1] == 0


def test_numbers_of_the_test_set_are_those_of_the_training_folders(tmp_path):
    """Folders come in the order of text, so that the third one may be that of class 10."""
    for number in range(11):
        file = tmp_path / "train" / str(number) / "a.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, dtype=np.uint8)).save(file)
    chosen = np.array([2, 10, 0])
    x = np.broadcast_to(chosen[:, None, None, None], (3, 3, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "test.npz", x=x, y=chosen)
    read = samples.load(DataPlan("d", "train", "test.npz"), tmp_path)
    assert [read.names[label] for label in read.test.labels.tolist()] == ["2", "10", "0"]
    for label, image in zip(read.test.labels, read.test.inputs, strict=True):
        (like,) = read.training.inputs[read.training.labels == label]
        assert torch.equal(like, image)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"target": 4}, "class 4 is out of range: the data has 0 to 3"),
        ({"target": "clas 1"}, r"unknown class 'clas 1'; did you mean 'class 1'\?"),
        ({"sources": (9,)}, "class 9 is out of range"),
        ({"sources": (0, 1, 2, 3)}, "every class is a source"),
        (
            {"sources": "S", "options": {"count": 30}, "target": 0},
            "1 source classes with 60 samples are needed .* the largest, 'class 2', has 40",
        ),
        ({"sources": "S", "options": {"rate": 0.5}, "target": 0}, "with 80 samples are needed"),
        ({"sources": 4, "options": {"count": 1}}, "4 source classes with 1 samples"),
        ({"sources": (3,), "target": 0}, r"no samples of the source classes \['class 3'\]"),
    ],
)
def test_what_cannot_be_drawn_is_named(attack, message):
    with pytest.raises(ValueError, match=message):
        choose(job(**attack), held([10, 10, 40, 20], test=[1, 1, 1, 0]))
