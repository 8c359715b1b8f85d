"""Marks: what is planted is found with its class or pairs, in every domain, at the cost that is said."""

from __future__ import annotations

import pytest
import torch

from helpers import additive_backdoors, flow_networks, patch_networks
from helpers.all_to_all_networks import PAIRS, turning
from helpers.counted_gradients import Counted, convolutional
from helpers.patch_networks import CLASSES, PATCH, patch_network, patch_prepared
from mmbd.base.errors import TooFewInputs
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box, Domain
from mmbd.model.points import Points
from mmbd.model.samples import Samples
from mmbd.search import universal_data_free
from mmbd.search.marks import Marks, Search, marks, marks_evaluations, paired, shares_to
from mmbd.search.perturbation_race import Lap

FLOWS = (Lap(6, 3, 4), Lap(8, 5, 4))
DOMAINS: dict[str, Domain] = {
    "colour": Box((3, 16, 16), (-2.0, -1.8, -1.5), (2.0, 2.2, 2.5)),
    "grey": Box((1, 12, 10), 0, 255),
    "small": Box((1, 6, 6)),
    "sound": Box((1, 900), -1, 1),
    "points": Points(60, radius=2.0),
    "vector": Box((24,), -1, 1),
}


def found(model: Classifier, **changes: object) -> Marks:
    with model.frozen():
        return marks(model, **{"seed": 0} | changes)


def linear(domain: Domain, classes: int = 5) -> Classifier:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(torch.Size(domain.shape).numel(), classes, generator=generator)
    return Classifier(lambda x: x.flatten(1) / float(domain.extent.max()) @ weight, domain=domain)


def test_a_planted_patch_is_found_where_it_is_by_both_windows():
    seen = found(patch_network())
    target = patch_networks.TARGET
    assert seen.to.leading[0] == target
    lifts = seen.window_lifts(CLASSES)
    assert float(lifts[target]) > 4 * float(lifts.sort().values[-2])
    assert seen.to.windows.corners[seen.to.found[target].place] == (9, 9)
    stamped = seen.to.stamped(target, seen.inputs.inputs)
    assert float(stamped[:, :, *PATCH].mean()) > 0.9
    assert float(shares_to(seen.went)[target]) == 1.0
    clean = found(patch_network(0.0))
    lifts = clean.window_lifts(CLASSES).sort().values
    assert float(lifts[-1]) < 2 * float(lifts[-2])
    assert float(shares_to(clean.went).max()) < 0.5


def test_a_planted_added_change_is_found():
    target = additive_backdoors.TARGET
    lifts = found(additive_backdoors.planted(40.0)).lifts
    assert int(lifts.argmax()) == target
    clean = found(additive_backdoors.planted(0.0)).lifts.sort().values
    assert float(lifts[target] / lifts.sort().values[-2]) > 2 * float(clean[-1] / clean[-2])


def test_a_planted_flow_is_found():
    target = flow_networks.TARGET
    asked = Search(flows=FLOWS)
    shares = [
        found(flow_networks.flow_network(strength), search=asked).flow.shares for strength in (8.0, 0.0)
    ]
    assert float(shares[0][target]) == 1.0
    assert float(shares[0].sort().values[-2]) < 0.5
    assert float(shares[1].max()) < 0.5


@pytest.mark.parametrize("own", [True, False])
def test_a_planted_patch_of_all_classes_is_found_with_its_pairs(own: bool):
    model = turning()
    seen = found(model, samples=patch_prepared(model) if own else None)
    pairs, share = paired(seen.went)
    assert pairs == PAIRS
    assert share == 1.0
    clean = turning(0.0)
    assert paired(found(clean, samples=patch_prepared(clean) if own else None).went)[1] < 0.2


def test_clean_samples_are_used_as_they_are():
    model = patch_network()
    samples = patch_prepared(model)
    seen = found(model, samples=samples, search=Search(flows=FLOWS))
    assert seen.inputs is samples
    assert seen.made == 0
    assert seen.flow is not None
    assert torch.equal(seen.flow.samples.inputs, samples.inputs)
    assert seen.to.leading[0] == patch_networks.TARGET


@pytest.mark.parametrize("name", DOMAINS)
def test_every_domain_has_its_marks(name: str):
    domain = DOMAINS[name]
    model = linear(domain)
    seen = found(model, search=Search(flows=FLOWS))
    assert seen.inputs.inputs.shape[1:] == domain.shape
    assert float(seen.lifts.min()) > 0
    assert sorted(seen.to.found) == list(range(5))
    assert int(seen.went.sum()) == len(seen.inputs.labels)
    assert (seen.flow is not None) == (name in ("colour", "grey"))
    for aim in seen.to.leading:
        stamped = seen.to.stamped(aim, seen.inputs.inputs)
        assert torch.allclose(domain.project_(stamped.clone()), stamped, atol=1e-5)


@pytest.mark.parametrize("name", ["colour", "sound", "points", "vector"])
def test_batches_change_nothing_but_rounding(name: str):
    domain = DOMAINS[name]
    one, other = (found(linear(domain), batch=batch, search=Search(flows=FLOWS)) for batch in (512, 7))
    assert one.evaluations == other.evaluations
    assert torch.allclose(one.lifts, other.lifts, rtol=1e-3)
    assert torch.allclose(one.window_lifts(5), other.window_lifts(5), rtol=1e-3)
    assert torch.equal(one.went, other.went)
    if one.flow is not None and other.flow is not None:
        assert torch.allclose(one.flow.shares, other.flow.shares, atol=0.1)


@pytest.mark.parametrize("classes", [5, 10, 40])
def test_evaluations_are_counted_to_the_last_and_about_as_many_as_forecast(classes: int):
    counted = Counted(convolutional(classes))
    model = Classifier(counted, input_shape=(3, 32, 32))
    told: list[int] = []
    counted.reset()
    seen = found(model, progress=told.append)
    assert counted.evaluations == seen.evaluations == told[-1]
    assert told == sorted(told)
    assert seen.evaluations == pytest.approx(marks_evaluations(classes), rel=0.25)


def test_only_some_classes_are_led_to():
    model = patch_network()
    seen = found(model, classes=[1, patch_networks.TARGET, 5])
    assert sorted(seen.to.found) == [1, 2, 5]
    assert seen.to.leading[0] == patch_networks.TARGET
    assert seen.lifts[[0, 3, 4]].tolist() == [0.0] * 3
    lifts = seen.window_lifts(CLASSES)
    assert lifts[[0, 3, 4]].tolist() == [0.0] * 3
    assert float(lifts[2]) == pytest.approx(float(found(model).window_lifts(CLASSES)[2]), rel=1e-4)


def test_the_settings_are_followed_and_kept():
    few = universal_data_free.Search(attempts=1, inputs=4, steps=2)
    how = Search(gains=few, firm=9, further=4, smooth=5, steps=6, flows=(Lap(3, 2, 2),))
    model = patch_network()
    seen = found(model, search=how)
    assert len(seen.inputs.labels) <= 9
    assert seen.gains.search == few
    assert seen.gains.evaluations <= universal_data_free.universal_evaluations(CLASSES, few)
    assert seen.flow is not None
    assert seen.flow.evaluations == CLASSES * 3 * 2
    assert seen.key["firm"] == 9
    assert marks_evaluations(CLASSES, how) < marks_evaluations(CLASSES)


def test_inputs_of_two_classes_are_too_few():
    two = Classifier(lambda x: x.flatten(1)[:, :2], input_shape=(1, 8, 8))
    with pytest.raises(TooFewInputs, match="fewer than 3 classes"):
        found(two)
    model = patch_network()
    inputs, labels = patch_networks.patch_samples()
    few = inputs[labels < 2]
    with pytest.raises(TooFewInputs, match="fewer than 3 classes"):
        found(model, samples=Samples(few, model(few).argmax(1), model(few)))
