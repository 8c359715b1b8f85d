"""Windows that adapt to a network under repair: they find a planted patch, and follow it elsewhere."""

from __future__ import annotations

import torch

from helpers.patch_networks import CLASSES, PATCH, SIDE, TARGET, patch_network, patch_prepared
from mmbd.model.classifier import Classifier
from mmbd.search.adaptive_windows import AdaptiveWindows


def moved_patch() -> Classifier:
    """The network of `patch_network`, whose patch works in the lower left corner instead."""
    clf = patch_network()

    class Mirrored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = clf.model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            lower = x[:, :, 8:].flip(-1)
            return self.inner(torch.cat([x[:, :, :8], lower], 2))

    return Classifier(Mirrored(), input_shape=(3, SIDE, SIDE))


def hits(network: Classifier, images: torch.Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == TARGET).double().mean())


def test_a_planted_patch_is_found_and_followed():
    clf, samples = patch_network(), patch_prepared(patch_network())
    with clf.frozen():
        windows = AdaptiveWindows(clf, samples, seed=0, sides=[3], again=3)
        assert windows.targets == {3: [TARGET]}
        (first,) = windows.perturbed(clf, samples.inputs)
    assert first.shape == samples.inputs.shape
    assert hits(clf, first) == 1
    changed = (first != samples.inputs).any(1).any(0)
    assert bool(changed[PATCH].any())
    assert int(changed.sum()) <= 9
    other = moved_patch()
    assert hits(other, first) < 0.5
    with other.frozen():
        for _ in range(3):
            (last,) = windows.perturbed(other, samples.inputs)
        assert hits(other, last) == 1
        (row,) = windows.outcome(clf, other, samples)
    assert (row["kind"], row["target"], row["radius"]) == ("patch", TARGET, 3)
    assert row["before"] == row["after"] == 1


def test_inputs_keep_their_places_when_windows_take_turns():
    clf, samples = patch_network(strength=0.0), patch_prepared(patch_network(strength=0.0))
    with clf.frozen():
        windows = AdaptiveWindows(clf, samples, seed=0, sides=[2, 3], targets=[0, 1, 2])
        (moved,) = windows.perturbed(clf, samples.inputs)
    assert windows.targets.keys() == {2, 3}
    assert all(set(targets) == {0, 1, 2} for targets in windows.targets.values())
    changed = (moved != samples.inputs).any(1).flatten(1).sum(1)
    assert int(changed.max()) <= 9  # one window each, on the input that was there
    assert max(windows.targets[3]) < CLASSES


def test_targets_that_are_given_are_the_only_ones():
    clf, samples = patch_network(), patch_prepared(patch_network())
    with clf.frozen():
        windows = AdaptiveWindows(clf, samples, seed=0, sides=[3], targets=[4])
    assert windows.targets == {3: [4]}
