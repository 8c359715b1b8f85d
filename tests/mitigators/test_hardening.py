"""Hardening: weights that change in the copy only, and not at all where nothing may be lost."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from mmbd import nets
from mmbd.base.errors import NotMitigated
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.mitigators import hardening, mitigate, mm_bm
from mmbd.mitigators.mitigator import Mitigation
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.points import Points
from mmbd.model.samples import prepare

STRONG = {"lr": 0.01, "steps": 40}


def vectors(**options) -> Mitigation:
    clf = backdoored_networks.vectors()
    return hardening(clf, prepare(clf, *backdoored_networks.vector_samples()), **options)


def weights(of: Classifier) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in of.model.parameters()])


def test_a_planted_backdoor_is_trained_away():
    made = vectors(**STRONG)
    assert backdoored_networks.vector_rates(backdoored_networks.vectors()) == (1, 1)
    assert backdoored_networks.vector_rates(made.classifier) == (1, 0)
    (row,) = made.record.perturbations
    assert (row["kind"], row["target"]) == ("added", 2)
    assert row["before"] > 0.9
    assert row["after"] < 0.1


def test_a_trained_network_resists_what_was_found_and_keeps_its_accuracy():
    clf, _ = backdoored_networks.planted()
    accuracy, _ = backdoored_networks.planted_rates(clf)
    samples = backdoored_networks.planted_samples()
    with backdoored_networks.untouched(clf):
        made = hardening(clf, samples, steps=40, lr=2e-3)
    assert backdoored_networks.planted_rates(made.classifier)[0] >= accuracy - 0.03
    assert made.record.accuracy[1] >= 0.97 * made.record.accuracy[0]
    rows = made.record.perturbations
    assert {row["kind"] for row in rows} == {"added", "flow"}
    json.dumps(dataclasses.asdict(made.record), allow_nan=False)


def test_weights_change_in_the_copy_and_statistics_nowhere():
    clf, _ = backdoored_networks.planted()
    with backdoored_networks.untouched(clf):
        repaired, record = hardening(clf, backdoored_networks.planted_samples(), steps=3)
    assert record.settings["extent"] > 0
    assert type(repaired.model) is type(clf.model)
    before, after = dict(clf.model.named_parameters()), dict(repaired.model.named_parameters())
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert len(list(clf.model.buffers())) == 6
    for old, new in zip(clf.model.buffers(), repaired.model.buffers(), strict=True):
        assert torch.equal(old, new)
    assert not any(module.training for module in repaired.model.modules())
    assert all(weight.grad is None for weight in repaired.model.parameters())
    assert record.layers == ()


def test_the_bounds_of_a_bounded_network_stay():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    first = mm_bm(clf, samples, steps=4).classifier
    (limit,) = first.model.limits
    with backdoored_networks.untouched(first):
        made = hardening(first, prepare(first, *backdoored_networks.vector_samples()), **STRONG)
    assert isinstance(made.classifier.model, Bounded)
    (kept,) = made.classifier.model.limits
    assert torch.equal(kept.upper, limit.upper)
    assert (kept.fold, kept.activation) == (limit.fold, limit.activation)
    assert not torch.equal(weights(made.classifier), weights(first))
    assert backdoored_networks.vector_rates(made.classifier) == (1, 0)


def test_frozen_weights_are_tuned_and_frozen_again():
    clf = backdoored_networks.vectors()
    clf.model.requires_grad_(False)
    samples = prepare(clf, *backdoored_networks.vector_samples())
    with backdoored_networks.untouched(clf):
        made = hardening(clf, samples, steps=2, accuracy=0.0)
    assert not any(weight.requires_grad for weight in made.classifier.model.parameters())
    assert not torch.equal(weights(made.classifier), weights(clf))
    partly = backdoored_networks.vectors()
    partly.model[0].requires_grad_(False)
    made = hardening(partly, samples, steps=2, accuracy=0.0)
    assert [w.requires_grad for w in made.classifier.model.parameters()] == [False, True, True]
    assert not torch.equal(made.classifier.model[0].weight, partly.model[0].weight)


# --------------------------------------------------------------------------- the accuracy it keeps


def test_weights_go_back_until_the_accuracy_is_kept():
    clf, _ = backdoored_networks.planted()
    samples = backdoored_networks.planted_samples()
    wild = {"lr": 0.01, "steps": 6, "perturbations": ("added",), "against": 5.0}
    free = hardening(clf, samples, accuracy=0.0, **wild)
    assert free.record.settings["extent"] == 1
    assert free.record.accuracy[1] < 0.9 * free.record.accuracy[0]
    made = hardening(clf, samples, accuracy=0.97, **wild)
    extent = made.record.settings["extent"]
    assert 0 < extent < 1
    reached = samples.accuracy(logits_of(made.classifier, samples.inputs))
    assert reached >= 0.97 * samples.accuracy(samples.logits)
    assert made.record.accuracy[1] == pytest.approx(reached)
    # They lie on the straight line to what they were.
    torch.testing.assert_close(
        weights(made.classifier), torch.lerp(weights(clf), weights(free.classifier), extent)
    )


@pytest.mark.parametrize("options", [{"accuracy": 1.01}, {"lr": 1e4, "steps": 5}], ids=str)
def test_where_no_step_is_affordable_the_original_comes_back(options):
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    with backdoored_networks.untouched(clf):
        made = mitigate(clf, inputs, labels, method="hardening", **{"steps": 2} | options)
    assert made.classifier is clf
    assert not made.record.changed
    assert "accuracy" in made.record.reason
    with pytest.raises(NotMitigated):
        hardening(clf, prepare(clf, inputs, labels), **{"steps": 2} | options)


# ---------------------------------------------------------------------------------------- the rest


def test_on_clean_samples_alone_the_network_is_its_own_teacher_and_stays():
    made = vectors(**STRONG, perturbations=())
    assert made.record.curves["clean"] == [0] * 40
    assert made.record.perturbations == ()
    assert torch.equal(weights(made.classifier), weights(backdoored_networks.vectors()))


@pytest.mark.parametrize("augment", [False, True])
def test_images_are_moved_if_told_to(augment):
    """The teacher sees what the student sees, so that the first step costs nothing."""
    clf, _ = backdoored_networks.planted()
    record = hardening(
        clf, backdoored_networks.planted_samples(), augment=augment, perturbations=(), steps=2
    ).record
    assert record.curves["clean"][0] == pytest.approx(0, abs=1e-9)
    assert record.settings["augment"] is augment


def test_augmentation_shows_other_images():
    clf, _ = backdoored_networks.planted()
    seen = []
    handle = clf.model[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    samples = backdoored_networks.planted_samples()
    seen.clear()
    hardening(clf, samples, augment=True, perturbations=(), steps=2, batch=80)
    handle.remove()
    raw = (samples.inputs - 0.5) / 0.25
    moved = next(given for given in seen if len(given) == 80)
    assert moved.shape == raw.shape
    assert float(moved.min()) >= float(raw.min()) - 1e-6  # repeated at the edges, never black


def test_the_seed_decides():
    made = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        made.append(weights(vectors(seed=seed, steps=3, batch=9, accuracy=0.0).classifier))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_progress_and_curves_count_the_steps():
    calls = []
    record = vectors(steps=5, progress=lambda at: calls.append((at.done, at.total))).record
    assert calls == [(step, 5) for step in range(1, 6)]
    assert {name: len(curve) for name, curve in record.curves.items()} == {"clean": 5, "fooled": 5}


class Interrupted(Exception):
    pass


def test_an_exception_leaves_the_original_alone():
    clf, _ = backdoored_networks.planted()

    def stop(at: Progress) -> None:
        if at.done == 2:
            raise Interrupted

    with backdoored_networks.untouched(clf), pytest.raises(Interrupted):
        hardening(clf, backdoored_networks.planted_samples(), progress=stop)


@pytest.mark.parametrize("arch", ["m5", "pointnet"])
def test_sounds_and_clouds(arch):
    torch.manual_seed(0)
    if arch == "m5":
        net, domain = nets.build(arch, classes=2, input_shape=(1, 8000), width=2), None
    else:
        net, domain = nets.build(arch, classes=2, input_shape=(3, 12), width=4), Points(12)
    shape = {"domain": domain} if domain else {"input_shape": (1, 8000), "bounds": (-1, 1)}
    clf = Classifier(net.eval(), **shape)
    inputs = torch.stack([clf.domain.sample(generator_for("inputs", i)) for i in range(8)])
    with backdoored_networks.untouched(clf):
        made = hardening(clf, prepare(clf, inputs), steps=2, accuracy=0.0)
    assert {row["kind"] for row in made.record.perturbations} == {"added"}
    assert bool(torch.isfinite(logits_of(made.classifier, inputs)).all())


def test_what_is_no_module_cannot_be_hardened():
    net = nn.Linear(4, 2)
    clf = Classifier(lambda x: net(x), input_shape=(4,))
    with pytest.raises(NotMitigated, match=r"only an nn\.Module"):
        hardening(clf, prepare(clf, torch.rand(8, 4)))
