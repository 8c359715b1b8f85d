"""Where bounds start: a corner pixel that only bounds by place stop, and what few samples allow."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest
import torch
from torch import nn

from helpers import backdoored_networks, corner_networks
from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.mitigators import mitigate, mm_bm
from mmbd.mitigators.fine_pruning import fine_pruning
from mmbd.mitigators.learned_bounds import quantiles
from mmbd.mitigators.places import LEAST, WAYS, has_places, peaks, starts
from mmbd.model.activations import find
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.model.samples import Samples, prepare

STILL = {"steps": 1, "lr": 1e-9, "accuracy": 0.0, "perturbations": ()}  # the bounds as they start


# ----------------------------------------------------------------------------- what it is there for


def test_a_corner_pixel_that_bounds_by_channel_do_not_stop():
    clf = corner_networks.backdoored()
    accuracy, success = corner_networks.rates(clf)
    assert accuracy > 0.8
    assert success > 0.95
    samples = corner_networks.samples()
    left: dict[str, float] = {}
    for places in ("channel", "place", "auto"):
        with backdoored_networks.untouched(clf):
            made = mm_bm(clf, samples, places=places, **STILL)
        after, left[places] = corner_networks.rates(made.classifier)
        assert after >= accuracy - 0.01
    assert left["channel"] > 0.95
    assert left["place"] < 0.05
    assert left["auto"] < 0.05


def test_it_stays_stopped_after_the_tuning_and_in_a_copy():
    clf = corner_networks.backdoored()
    accuracy, _ = corner_networks.rates(clf)
    by_channel, by_place = (mm_bm(clf, corner_networks.samples(), places=p) for p in ("channel", "auto"))
    assert corner_networks.rates(by_channel.classifier)[1] > 0.1
    after, left = corner_networks.rates(by_place.classifier)
    assert after >= accuracy - 0.02
    assert left < 0.02
    record = by_place.record
    assert not record.weights_changed
    assert record.settings["by_place"].keys() == {"inputs", "1", "4"}
    copied = pickle.loads(pickle.dumps(by_place.classifier.model))
    x = corner_networks.digits()[0][:5]
    assert torch.equal(copied(x), by_place.classifier.model(x))


def test_one_sample_a_class():
    clf = corner_networks.backdoored()
    accuracy, success = corner_networks.rates(clf)
    made = mm_bm(clf, corner_networks.samples(1))
    after, left = corner_networks.rates(made.classifier)
    assert after >= accuracy - 0.1
    assert left < success


def test_what_a_record_says_is_short():
    made = mm_bm(corner_networks.backdoored(), corner_networks.samples(), **STILL)
    text = json.dumps(dataclasses.asdict(made.record), allow_nan=False)
    assert len(text) < 10_000
    _, first, second, last = made.record.layers  # the inputs come before
    assert (first["places"], second["places"]) == ([12, 12], [4, 4])
    assert "places" not in last
    limit = made.classifier.model.limits[1]
    assert first["upper"] == limit.upper.amax((1, 2)).tolist()
    assert first["least"] == limit.upper.amin((1, 2)).tolist()
    assert len(first["highest"]) == first["channels"] == 6


# --------------------------------------------------------------------------------- where they start


def begun(samples: Samples, places: str, seed: int = 0) -> tuple[dict[int, torch.Tensor], dict]:
    clf = corner_networks.backdoored()
    found = find(clf)
    channel = quantiles(clf, found, samples.inputs, 0.998)
    return starts(clf, samples, found, channel, places=places, fold=True, seed=seed)[:2]


def test_no_place_is_above_its_channel():
    samples = corner_networks.samples()
    channel, ways = begun(samples, "channel")
    assert ways == {}
    for places in ("place", "auto"):
        bounds, ways = begun(samples, places)
        for index, upper in bounds.items():
            whole = channel[index].reshape(-1, *[1] * (upper.dim() - 1))
            assert bool((upper <= whole).all())
            assert bool((upper >= LEAST).all())
        assert bounds[0].shape == (6, 12, 12)
        assert bounds[2].shape == (32,)  # a linear layer has no places
        assert ways.keys() == {"1", "4"}


def test_places_are_as_high_as_samples_reach_there_or_next_to_it():
    samples = corner_networks.samples(2)
    clf = corner_networks.backdoored()
    outputs = clf.model[1](clf.model[0](samples.inputs))
    padded = nn.functional.pad(outputs, [1] * 4, value=-1)
    near = torch.stack([padded[..., i : i + 12, j : j + 12] for i in range(3) for j in range(3)]).amax(0)
    found = peaks(clf, find(clf)[:1], samples.inputs, 2, batch=7)
    torch.testing.assert_close(found[0], near.sort(0, descending=True).values[:2])


def test_the_order_of_samples_follows_from_the_seed():
    torch.manual_seed(1)
    first, again = begun(corner_networks.samples(5), "auto"), begun(corner_networks.samples(5), "auto")
    assert first[1] == again[1]
    assert all(torch.equal(first[0][index], again[0][index]) for index in first[0])


def test_samples_that_have_nothing_in_common_get_bounds_by_channel():
    """One bright pixel somewhere, whatever the class: what others reach says nothing about one's own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2)).eval()
    net[0].weight.data.abs_()
    net[0].bias.data.zero_()
    clf = Classifier(net, input_shape=(1, 8, 8))
    inputs = torch.zeros(12, 1, 8, 8)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:12]
    inputs.flatten(1)[torch.arange(12), order] = 1
    made = mm_bm(clf, prepare(clf, inputs), places="auto", **STILL)
    assert made.record.settings["by_place"] == {}
    assert mm_bm(clf, prepare(clf, inputs), places="place", **STILL).record.settings["by_place"] == {
        "1": WAYS[0]._asdict()
    }


def test_other_words_are_refused():
    clf = corner_networks.backdoored()
    with pytest.raises(ValueError, match="unknown way to bound places 'places'"):
        mm_bm(clf, corner_networks.samples(2), places="places")


# ------------------------------------------------------------------------------------ other inputs


def random_samples(arch: str, domain, arguments: dict) -> tuple[Classifier, Samples]:
    torch.manual_seed(0)
    net = nets.build(arch, classes=3, input_shape=domain.shape, **arguments).eval()
    clf = Classifier(net, domain=domain)
    inputs = torch.stack([domain.sample(generator_for("inputs", i)) for i in range(12)])
    return clf, prepare(clf, inputs)


def test_sounds_have_places_in_time():
    clf, samples = random_samples("m5", Box((1, 8000), -1, 1), {"width": 2})
    made = mm_bm(clf, samples, places="place", **STILL)
    spread = [a.name for a in find(clf) if has_places(a, clf)]
    assert spread
    assert list(made.record.settings["by_place"]) == spread
    assert made.classifier.model.limits[0].upper.shape == find(clf)[0].shape
    assert bool(torch.isfinite(made.classifier(samples.inputs)).all())


@pytest.mark.parametrize("arch", ["pointnet", "dgcnn"])
def test_the_places_of_clouds_have_no_order(arch):
    clf, samples = random_samples(
        arch, Points(12), {"pointnet": {"width": 4}, "dgcnn": {"k": 3, "width": 2}}[arch]
    )
    made = mm_bm(clf, samples, places="place", **STILL)
    assert made.record.settings["by_place"] == {}
    assert {limit.upper.dim() for limit in made.classifier.model.limits} == {1}


def test_bounds_by_place_may_be_pruned_and_repaired_again():
    clf, samples = corner_networks.backdoored(), corner_networks.samples()
    first = mm_bm(clf, samples, **STILL).classifier
    again = prepare(first, samples.inputs, samples.labels)
    pruned = fine_pruning(first, again, layer="4", epochs=1)
    (limit,) = (limit for limit in pruned.classifier.model.limits if limit.activation.name == "4")
    assert limit.upper.shape == limit.activation.shape
    second = mm_bm(first, again, steps=2)
    assert corner_networks.rates(second.classifier)[1] < 0.05


def test_mitigate_passes_the_option_on():
    clf, samples = corner_networks.backdoored(), corner_networks.samples(2)
    made = mitigate(clf, samples.inputs, samples.labels, method="mm-bm", places="channel", steps=1)
    assert made.record.settings["places"] == "channel"
    assert made.record.settings["by_place"] == {}
