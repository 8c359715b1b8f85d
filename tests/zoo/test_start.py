"""Networks fine-tuned from models there are: what is taken, what stays as drawn, what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import digit_zoos
from mmbd import nets
from mmbd.base.errors import Failed, MmbdError
from mmbd.formats.spec import Spec, save
from mmbd.zoo import cards, plan, start
from mmbd.zoo import train_one as training
from mmbd.zoo.make import make

# Steps too small to move the weights: what comes out is what went in.
STILL = 'recipe = {epochs = 1, lr = 1e-9}\nstart = "first.safetensors"\n'
GRID = '[[grid]]\narch = "tuned"\nattack = "clean"\n'


def tuned(made, folder, text: str = "", **plans):
    """The job of a network that starts from the first model of the zoo, its data and that in `folder`."""
    shutil.copy(made[0] / "digits-mlp-clean-0.safetensors", folder / "first.safetensors")
    arch = f'[arch.tuned]\nkind = "mlp"\nhidden = [32]\n{STILL}'
    file = digit_zoos.plan(folder, text or arch + GRID)
    if plans:
        file.write_text(file.read_text().replace(plans["old"], plans["new"]))
    (job,) = plan.read(file)
    return job


def test_it_begins_where_the_other_ended(made, tmp_path):
    job = tuned(made, tmp_path)
    card = training.make(job, tmp_path, root=tmp_path)
    first = cards.read(made[0] / "digits-mlp-clean-0.json")
    assert card["start"] == {
        "file": "first.safetensors",
        "sha256": first["sha256"],
        "tensors": 4,
        "of": 4,
        "share": 1.0,
    }
    assert card["settings"]["arch"]["start"] == "first.safetensors"
    assert card["accuracy"] == first["accuracy"]
    before, after = load_file(tmp_path / "first.safetensors"), load_file(tmp_path / card["file"])
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert cards.read(tmp_path / f"{job.name}.json")["start"] == card["start"]


def test_a_head_for_other_classes_stays_as_drawn(made, tmp_path):
    job = tuned(made, tmp_path, old="[data.digits]\n", new="[data.digits]\nclasses = [1, 3, 5]\n")
    found = training.fit(job, tmp_path)
    assert found.started is not None
    assert (found.started["tensors"], found.started["of"]) == (2, 4)
    assert found.started["share"] == round(32 * 65 / (32 * 65 + 33 * 3), 4)
    torch.manual_seed(job.draw)
    drawn = nets.build("mlp", classes=3, input_shape=(1, 8, 8), hidden=(32,)).state_dict()
    first, ends = load_file(tmp_path / "first.safetensors"), found.victim.network.state_dict()
    for name in ("1.weight", "1.bias"):
        torch.testing.assert_close(ends[name], first[name], rtol=0, atol=1e-6)
        assert not torch.allclose(drawn[name], first[name], atol=0.01)
    for name in ("3.weight", "3.bias"):
        torch.testing.assert_close(ends[name], drawn[name], rtol=0, atol=1e-6)


def test_statistics_of_normalisation_are_taken_too(tmp_path):
    spec = Spec("resnet8", (3, 8, 8), 4, {"width": 4})
    other = spec.network()
    for value in other.state_dict().values():
        value.copy_(torch.rand_like(value) if value.is_floating_point() else torch.tensor(7))
    save(tmp_path / "a.safetensors", other.eval(), spec)
    network = nets.build("resnet8", classes=9, input_shape=(3, 8, 8), width=4)
    said = start.give(network, start.read("a.safetensors", tmp_path))
    assert (said["tensors"], said["of"]) == (len(other.state_dict()) - 2, len(network.state_dict()))
    ends = network.state_dict()
    assert torch.equal(ends["bn1.running_var"], other.state_dict()["bn1.running_var"])
    assert int(ends["layer3.0.bn2.num_batches_tracked"]) == 7


def test_weights_for_another_network_are_refused(made, tmp_path):
    job = tuned(made, tmp_path, f'[arch.tuned]\nkind = "mlp"\nhidden = [33]\n{STILL}{GRID}')
    with pytest.raises(
        Failed, match=r"1 of the network's 4 tensors .* 10 of its 2,485 numbers, less than half"
    ):
        training.fit(job, tmp_path)
    # Where the run goes on with the other models, this one is noted.
    summary = make([job], tmp_path / "out", root=tmp_path)
    assert "first.safetensors': 1 of the network's 4 tensors" in summary.failures[job.name]


def test_only_files_that_say_what_they_are(made, tmp_path):
    job = tuned(made, tmp_path)
    file = tmp_path / "first.safetensors"
    save_file(load_file(file), file)
    with pytest.raises(Failed, match=r"first\.safetensors: .*--arch"):
        training.fit(job, tmp_path)
    torch.save({"weight": torch.ones(2)}, file)
    with pytest.raises(MmbdError, match=r"first\.safetensors"):
        training.fit(job, tmp_path)
    file.write_bytes(b"\x00" * 99)
    with pytest.raises(MmbdError, match=r"first\.safetensors"):
        training.fit(job, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"first\.safetensors: no file to start from"):
        training.fit(job, tmp_path)


def test_it_belongs_to_the_settings_and_older_cards_still_count(made, tmp_path):
    job = tuned(made, tmp_path)
    out = tmp_path / "out"
    assert make([job], out, root=tmp_path).made == 1
    assert make([job], out, root=tmp_path).kept == 1
    path = cards.path(out, job.name)
    card = json.loads(path.read_text())
    del card["settings"]["arch"]["start"]  # as of a release that did not know it: from scratch
    path.write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"arch\.start is None there and 'first\.safetensors' here"):
        make([job], out, root=tmp_path)
    scratch = f'[arch.tuned]\nkind = "mlp"\nhidden = [32]\nrecipe = {{epochs = 1, lr = 1e-9}}\n{GRID}'
    assert make([tuned(made, tmp_path, scratch)], out, root=tmp_path).kept == 1


def test_a_start_is_none_of_the_arguments(made, tmp_path):
    """So that a preset's arguments for the network stand beside it."""
    (job,) = plan.jobs(
        {
            "preset": "cifar10-small",
            "arch": {"cnn": {"start": "a.safetensors"}},
            "grid": [{"arch": "cnn", "attack": "clean"}],
        }
    )
    (usual,) = plan.jobs({"preset": "cifar10-small", "grid": [{"arch": "cnn", "attack": "clean"}]})
    assert job.arch.arguments == usual.arch.arguments
    assert (job.arch.start, usual.arch.start) == ("a.safetensors", None)
