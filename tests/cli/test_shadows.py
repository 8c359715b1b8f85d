"""`mmbd shadows` and what `mmbd scan` does with it, as a user meets them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import tiny_shadows
from helpers.command_line import caller
from mmbd.detectors.meta.trained import Meta
from mmbd.formats.spec import Spec, save
from mmbd.results.store import Store
from mmbd.workflows import scan_file as gate

HOW = ["--arch", "mlp", "--arch-arg", "hidden=(16,)", "--count", 4, "--epochs", 20]
OUT = ["--out", "META.safetensors"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    found = tiny_shadows.samples(90)
    np.savez(folder / "clean.npz", x=found.inputs.numpy(), y=found.labels.numpy())
    return folder / "clean.npz"


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


def model(path, shape=tiny_shadows.SHAPE):
    spec = Spec("mlp", shape, tiny_shadows.CLASSES, {"hidden": (16,)})
    save(path, spec.network(), spec)
    return path


def test_shadow_models_are_kept_and_what_comes_of_them_judges_models(run, data, tmp_path):
    code, said, errors = run("shadows", data, *HOW, *OUT, "--limit", 60, "--seed", 3)
    assert code == gate.CLEAN, errors
    assert said.startswith(
        "META.safetensors: 4 clean and 4 backdoored shadow models of mlp(hidden=(16,))\nACC "
    )
    assert {path.name for path in tmp_path.iterdir()} == {"META.safetensors", "results.sqlite"}
    made = Meta.load("META.safetensors")
    assert (made.shadows["samples"], made.shadows["epochs"], made.shadows["seed"]) == (60, 20, 3)
    kept = Store("results.sqlite")
    before = {key: stored.written for key, stored in kept.items()}
    assert len(before) == 8
    first = (tmp_path / "META.safetensors").read_bytes()
    assert run("shadows", data, *HOW, *OUT, "--limit", 60, "--seed", 3, "--force")[0] == gate.CLEAN
    assert {key: stored.written for key, stored in kept.items()} == before
    assert (tmp_path / "META.safetensors").read_bytes() == first

    threshold = ["--option", "shadow_models=META.safetensors", "--option"]
    scan = ["scan", model(tmp_path / "m.safetensors"), "--detector", "meta", *threshold]
    code, said, _ = run(*scan, "threshold=1e6")
    assert code == gate.REFUSED  # two held-out shadow models prove nothing
    assert "no better than chance would" in " ".join(said.split())
    tiny_shadows.handmade((1, 6, 6), 3, 1).save("META.safetensors", force=True)
    assert run(*scan, "threshold=1e6")[0] == gate.CLEAN
    code, said, _ = run(*scan, "threshold=-1e6", "--json", "-")
    assert code == gate.BACKDOORED
    assert json.loads(said)["detector"] == "meta"
    other = model(tmp_path / "other.safetensors", (1, 6, 7))
    code, said, _ = run("scan", other, "--detector", "meta", *threshold[:2])
    assert code == gate.REFUSED
    assert "train shadow models for its task" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*OUT, "--arch", "mpl"], "--arch: unknown architecture 'mpl'; did you mean 'mlp'?"),
        ([*OUT, "--arch-arg", "hidden=(16,)"], "--arch-arg needs --arch"),
        ([*OUT, "--arch", "mlp", "--arch-arg", "depth=3"], "takes no argument 'depth'"),
        ([*OUT, "--count", 1], "--count 1: expected at least 2"),
        ([*OUT, "--workers", -1], "--workers -1: expected at least 0"),
        ([*OUT, "--size", "8"], "--size 8: expected height and width"),
        ([*OUT, "--device", "gpu"], "--device gpu: "),
        (["--out", "META.pt"], "--out META.pt: expected a name that ends in .safetensors"),
        ([*OUT, "--store", "META.safetensors"], "expected a name that ends in .sqlite"),
        (["--out", "there.safetensors"], "there.safetensors is there already: give --force"),
        ([*OUT, "--limit", 2, *HOW], "shadow models need samples of at least two classes, and of each"),
    ],
)
def test_usage(run, data, tmp_path, arguments, message):
    (tmp_path / "there.safetensors").write_bytes(b"")
    code, said, errors = run("shadows", data, *arguments)
    assert (code, said) == (gate.USAGE, ""), errors
    assert message in errors
    assert not (tmp_path / "META.safetensors").exists()


def test_no_data_and_files_that_are_none_fail(run, tmp_path):
    code, _, errors = run("shadows", "gone.npz", *HOW, *OUT)
    assert code == gate.FAILED
    assert "no data at gone.npz" in errors
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4")
    assert run("shadows", "broken.npz", *HOW, *OUT)[0] == gate.FAILED
    scan = ["scan", model(tmp_path / "m.safetensors"), "--detector", "meta"]
    code, _, errors = run(*scan)
    assert code == gate.USAGE
    assert "meta needs shadow models: give --option shadow_models=" in errors
    code, _, errors = run(*scan, "--option", "shadow_models=m.safetensors")
    assert code == gate.FAILED
    assert "m.safetensors: the file holds no meta-classifier" in errors
    code, _, errors = run(*scan, "--option", "shadow_models=gone.safetensors")
    assert code == gate.FAILED
    assert "gone.safetensors: there is no such file" in errors
    code, _, errors = run(*scan, "--option", "shadow_models=3")
    assert code == gate.USAGE
