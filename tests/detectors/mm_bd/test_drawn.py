"""What is drawn first is the change that takes most inputs to the target, and a source that stands out."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from helpers import flow_networks, patch_networks
from helpers.all_to_all_networks import PAIRS, turning
from helpers.patch_networks import CLASSES, PATCH, TARGET, Tiles, patch_network, patch_prepared, tile
from mmbd.detectors.mm_bd.drawn import drawn, sources
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.marks import Marks, Search, marks
from mmbd.search.perturbation_race import Lap

SOURCE = 4


class OfOneSource(Tiles):
    """A bright corner takes inputs of class `SOURCE` to the target, and the others a little nearer to it."""

    def __init__(self, nearer: float) -> None:
        super().__init__(0.0)
        self.nearer = nearer

    def forward(self, x: Tensor) -> Tensor:
        bright = torch.relu(x[:, :, *tile(SOURCE)].mean((1, 2, 3)) - 0.4)
        corner = torch.relu(x[:, :, *PATCH].mean((1, 2, 3)) - 0.1)
        return super().forward(x) + ((self.nearer + 60 * bright) * corner)[:, None] * self.target


def of(model: Classifier, samples: Samples | None = None, search: Search | None = None) -> Marks:
    with model.frozen():
        return marks(model, seed=0, samples=samples, search=search)


@cache
def patched() -> Marks:
    return of(patch_network())


def test_the_window_of_a_patch_is_drawn_where_it_is():
    seen = drawn(patched(), (TARGET,), TARGET)
    assert seen is not None
    shown, examples = seen
    assert (shown.kind, shown.target) == ("window", TARGET)
    assert shown.moved == shown.tried > 10
    assert "rows 9 to 11, columns 9 to 11" in str(shown.where)
    after = [one.tensor for one in examples if one.kind == "input after"]
    assert len(after) == 3
    model = patch_network()
    assert model(torch.stack(after)).argmax(1).tolist() == [TARGET] * 3


def test_a_flow_is_drawn_where_no_window_does_as_much():
    seen = of(flow_networks.flow_network(), search=Search(flows=(Lap(6, 3, 4), Lap(8, 5, 4))))
    without = replace(seen, to=replace(seen.to, found={}), away=patched().away)
    assert without.flow is not None
    found = drawn(without, (flow_networks.TARGET,), flow_networks.TARGET)
    assert found is not None
    assert (found[0].kind, found[0].target) == ("flow", flow_networks.TARGET)


def test_pairs_are_drawn_with_the_window_that_all_share():
    seen = drawn(of(turning()), tuple(range(CLASSES)), 0, in_pairs=True)
    assert seen is not None
    shown, _ = seen
    assert (shown.kind, shown.target) == ("window", None)
    assert shown.moved == shown.tried
    assert all(PAIRS[before] == after for before, after in shown.examples)


def test_nothing_is_drawn_where_no_change_moves_an_input():
    clean = turning(0.0)
    found = of(clean)
    lone = replace(found, to=replace(found.to, found={}), flow=None)
    counts = found.went.clone().fill_diagonal_(0).sum(0)
    still = int(counts.argmin())
    assert int(counts[still]) == 0
    assert drawn(lone, (), still) is None


def test_the_only_source_is_named_and_many_are_not():
    model = Classifier(OfOneSource(5.0), input_shape=patch_networks.SHAPE)
    single = of(model, patch_prepared(model))
    assert sources(single, TARGET) == {SOURCE: 1.0}
    assert sources(patched(), TARGET) == {}
    every = patch_network()
    assert sources(of(every, patch_prepared(every)), TARGET) == {}
    assert sources(patched(), (TARGET + 1) % CLASSES) == {}  # nothing to speak of goes there


def test_a_class_that_fell_behind_has_no_sources():
    seen = patched()
    behind = next(label for label in range(CLASSES) if label not in seen.to.leading)
    assert sources(seen, behind) == {}
