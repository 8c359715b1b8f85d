"""Zoos made end to end on digits: files, cards, failures, resuming, killing, and reading back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

import mmbd
from helpers import digit_zoos
from mmbd import attacks
from mmbd.base.progress import Progress
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.triggers import files
from mmbd.zoo import cards, plan, read
from mmbd.zoo import train_one as training
from mmbd.zoo.make import make
from mmbd.zoo.samples import load


def again(made, **changes):
    out, file, _ = made
    jobs = plan.read(file)
    return make([replace(job, **changes) for job in jobs], out, root=file.parent)


def test_every_model_has_its_files(made):
    out, _, seen = made
    names = ["digits-mlp-clean-0", "digits-mlp-clean-1", "digits-mlp-badnet-M-0", "digits-mlp-badnet-M-1"]
    assert {path.name for path in out.iterdir()} == {
        "zoo.json",
        *(f"{name}.json" for name in names),
        *(f"{name}.safetensors" for name in names),
        *(f"{name}.trigger.safetensors" for name in names if "clean" not in name),
    }
    assert [(item.note, item.done, item.total) for item in seen] == [
        (name, number + 1, 4) for number, name in enumerate(names)
    ]
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left
    index = json.loads((out / "zoo.json").read_text())
    assert index["plan"] == "the plan"
    assert {entry["state"] for entry in index["entries"].values()} == {"made"}


def test_the_card_is_the_truth_about_the_model(made):
    out, file, _ = made
    card = cards.read(out / "digits-mlp-badnet-M-0.json")
    assert card["accuracy"] > 0.8
    assert card["train_accuracy"] > 0.9
    assert card["asr"] > 0.8
    assert card["poisoned"] == 140
    assert card["seconds"] > 0
    assert card["versions"]["torch"] == torch.__version__
    assert card["settings"]["attack"]["options"] == {"count": 140}
    # The figures again, from the files alone.
    data = load(plan.read(file)[0].data, file.parent)
    assert card["digests"] == data.digests
    classifier = mmbd.load(out / card["file"]).classifier
    assert classifier.class_names == tuple(map(str, range(10)))
    with torch.no_grad():
        answers = classifier(scaled(data.test.inputs)).argmax(1)
    assert train.accuracy(answers, data.test.labels) == card["accuracy"]
    backdoor = files.load(out / card["trigger_file"])
    assert dict(backdoor.targets) == {int(s): t for s, t in card["pairs"].items()}
    assert len(backdoor.poisoned) == 140
    (target,) = card["targets"]
    others = data.test.labels != target
    trigger = backdoor.triggers[card["sources"][0]]
    with torch.no_grad():
        hits = classifier(scaled(attacks.stamp(trigger, data.test.inputs[others]))).argmax(1)
    assert float((hits == target).double().mean()) == card["asr"]


def test_models_differ_by_seed_and_attack(made):
    out, _, _ = made
    weights = [file.read_bytes() for file in sorted(out.glob("*[0-9].safetensors"))]
    assert len(set(weights)) == 4
    drawn = [cards.read(out / f"digits-mlp-badnet-M-{seed}.json")["settings"]["draw"] for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_a_second_run_makes_nothing(made):
    times = {path: path.stat().st_mtime_ns for path in made[0].glob("digits*")}
    summary = again(made)
    assert (summary.made, summary.kept, summary.failures) == (0, 4, {})
    assert times == {path: path.stat().st_mtime_ns for path in made[0].glob("digits*")}


def test_other_settings_are_refused_before_anything_is_done(made):
    with pytest.raises(ValueError, match=r"badnet-M-0\.safetensors was made .*\(recipe\.epochs is"):
        make(
            [replace(job, recipe=replace(job.recipe, epochs=99)) for job in plan.read(made[1])[2:]],
            made[0],
            root=made[1].parent,
        )
    with pytest.raises(ValueError, match="draw is"):
        again(made, draw=5)


def test_cards_of_older_releases_still_count(made):
    file = made[0] / "digits-mlp-clean-0.json"
    text = file.read_text()
    card = json.loads(text)
    del card["settings"]["recipe"]["clip"]  # a setting that it did not know, at its default
    del card["settings"]["data"]["bounds"]
    try:
        file.write_text(json.dumps(card))
        assert again(made).made == 0
    finally:
        file.write_text(text)


def test_the_same_job_gives_the_same_bits(made, tmp_path):
    out, file, _ = made
    job = plan.read(file)[2]
    training.make(job, tmp_path, root=file.parent)
    for suffix in (".safetensors", ".trigger.safetensors"):
        assert (tmp_path / f"{job.name}{suffix}").read_bytes() == (out / f"{job.name}{suffix}").read_bytes()


def test_failing_models_are_noted_and_the_run_goes_on(tmp_path):
    file = digit_zoos.plan(
        tmp_path,
        '[attack.greedy]\nkind = "badnet"\nsources = [1, 2]\ncount = 1000\n[[grid]]\n'
        'attack = ["greedy", "clean"]\n[attack.wild]\nkind = "badnet"\ncount = 5\nsize = 9\n'
        '[[grid]]\nattack = "wild"\n',
    )
    seen: list[Progress] = []
    summary = make(plan.read(file), tmp_path / "out", root=tmp_path, progress=seen.append)
    assert summary.made == 1
    assert list(summary.failures) == ["digits-mlp-greedy-0", "digits-mlp-wild-0"]
    greedy, wild = summary.failures.values()
    assert "1000 samples to poison; the source classes hold" in greedy
    assert "a patch of 9 pixels does not fit" in wild
    assert [item.latest.result is None for item in seen] == [True, False, True]
    zoo = read(tmp_path / "out")
    assert [entry.name for entry in zoo.entries] == ["digits-mlp-clean-0"]
    assert dict(zoo.broken) == {name: f"not made: {why}" for name, why in summary.failures.items()}
    # The next run tries them again, and a plan that is put right makes them.
    file.write_text(file.read_text().replace("1000", "20").replace("size = 9", "size = 2"))
    assert make(plan.read(file), tmp_path / "out", root=tmp_path).made == 2
    assert read(tmp_path / "out").broken == ()


HALF = """
import os, sys
from mmbd.base.writing import whole
with whole(sys.argv[1], force=True) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def test_killed_at_any_moment_it_goes_on_where_it_was(made, tmp_path):
    out, file, _ = made
    command = [sys.executable, "-m", "mmbd", "zoo", "make", file, tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("digits*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path.name: path.read_bytes() for path in tmp_path.glob("digits*.json")}
    assert 1 <= len(before) < 4
    # What has a card is whole.
    for name in before:
        card = cards.read(tmp_path / name)
        with safe_open(tmp_path / card["file"], "pt") as weights:
            assert weights.keys()
    # As if killed while it writes the index, which a run begins and ends with.
    assert subprocess.run([sys.executable, "-c", HALF, tmp_path / "zoo.json"]).returncode == 9
    assert list(tmp_path.glob(".zoo.json.*"))
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in out.iterdir()}
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    for path in out.glob("*.safetensors"):  # as if nothing had happened
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_workers_make_the_same_models(made, tmp_path):
    out, file, _ = made
    jobs = plan.read(file)[1:3]
    assert make(jobs, tmp_path, root=file.parent, workers=2).made == 2
    for job in jobs:
        name = f"{job.name}.safetensors"
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_hard_clean_trainings_are_clean_models(tmp_path, monkeypatch):
    def skewed(victim, *, target=None, strength=1):
        victim.fit()
        return {"target": target, "strength": strength}

    monkeypatch.setattr(attacks, "HARD_CLEAN", {"skewed": attacks.HardClean(skewed, "skewed")})
    file = digit_zoos.plan(
        tmp_path, '[attack.skewed]\ntarget = "7"\nstrength = 3\n[[grid]]\nattack = "skewed"\n'
    )
    make(plan.read(file), tmp_path / "out", root=tmp_path)
    (entry,) = read(tmp_path / "out").entries
    assert (entry.label, entry.attack, entry.targets) == ("clean", "skewed", ())
    card = cards.read(tmp_path / "out" / "digits-mlp-skewed-0.json")
    assert card["protocol"] == {"target": 7, "strength": 3}
    assert card["asr"] is None


def test_normalisation_lies_inside_the_model(tmp_path):
    text = digit_zoos.PLAN.replace('test = "test.npz"', 'test = "test.npz"\nmean = 0.5\nstd = 0.25')
    digit_zoos.write(tmp_path)
    (tmp_path / "plan.toml").write_text(text + '[[grid]]\nattack = "clean"\n')
    (job,) = plan.read(tmp_path / "plan.toml")
    card = training.make(job, tmp_path, root=tmp_path)
    loaded = mmbd.load(tmp_path / card["file"])
    assert (loaded.model.mean, loaded.model.std) == ((0.5,), (0.25,))
    test = load(job.data, tmp_path).test
    with torch.no_grad():
        answers = loaded.classifier(scaled(test.inputs)).argmax(1)
    assert train.accuracy(answers, test.labels) == card["accuracy"] > 0.8
