"""ABS's second half: patches and filters that drive one neuron."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import neuron_networks
from mmbd.detectors.abs.descent import descend
from mmbd.detectors.abs.neurons import Neuron
from mmbd.detectors.abs.ssim import blurred, ssim
from mmbd.detectors.abs.triggers import WINDOW, Filters, Patches, rounded, surroundings
from mmbd.model.activations import find

IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def patches(size: int = 4, **options) -> Patches:
    return Patches(neuron_networks.patched(), IMAGES, size, 0, **options)


def neurons() -> list[Neuron]:
    (layer,) = find(neuron_networks.patched())
    return [Neuron(layer, channel, 3, 1.0) for channel in range(2)]


def test_a_patch_starts_as_a_square_in_the_corner_with_noise_of_its_own():
    kind, (one, two) = patches(10), neurons()
    mask, pattern = kind.form(torch.stack([kind.start(one), kind.start(two)]))
    corner = torch.zeros(12, 12, dtype=torch.bool)
    corner[:3, :3] = True
    assert torch.equal(mask[0, ..., 0] > 0.5, corner)
    torch.testing.assert_close(mask[0, 0, 0, 0], torch.tensor(2.0).tanh() / 2 + 0.5)
    assert not torch.equal(pattern[0], pattern[1])
    assert 0.2 < float(pattern.std()) < 0.3  # a quarter of the box
    assert float(pattern.min()) >= 0
    assert float(pattern.max()) <= 1
    assert torch.equal(kind.start(one), kind.start(one))


@pytest.mark.parametrize(("pixels", "weight"), [(4, 0), (5, 500), (16, 500), (17, 1000)])
def test_masks_of_too_many_pixels_cost_their_sum(pixels, weight):
    mask = torch.full((1, 12, 12, 1), 0.009)
    mask.view(-1)[:pixels] = 0.02
    wanted = weight * mask.sum()
    torch.testing.assert_close(patches(4).penalty(mask), wanted[None])


def test_the_slope_of_a_patch_is_that_of_its_loss():
    kind, (one, two) = patches(others=1e-2), neurons()
    values = torch.stack([kind.start(one), kind.start(two)])
    got = kind.slope(values, [two, one])
    x = values.clone().requires_grad_()
    mask, pattern = kind.form(x)
    images = (1 - mask[:, None]) * kind.inside + mask[:, None] * pattern[:, None]
    conv = kind.classifier.model[0](images.flatten(0, 1).movedim(-1, 1))
    sums = (conv + conv.relu()).flatten(2).sum(2).unflatten(0, (2, 4)).sum(1)
    own = torch.stack([sums[0, 1], sums[1, 0]])
    rest = torch.stack([sums[0, 0], sums[1, 1]])
    loss = (-own + 1e-2 * rest + kind.penalty(mask)).sum()
    torch.testing.assert_close(got, torch.autograd.grad(loss, x)[0], rtol=1e-4, atol=1e-3)


def test_likeness_is_one_for_the_same_and_follows_the_formula():
    torch.testing.assert_close(ssim(IMAGES, IMAGES, 1.0), torch.ones(4))
    flat = torch.full((1, 3, 12, 12), 0.25)
    light = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    torch.testing.assert_close(ssim(flat, flat + 0.5, 1.0), torch.tensor([light]), atol=1e-3, rtol=0)
    assert float(ssim(IMAGES, 1 - IMAGES, 1.0).max()) < 0
    assert ssim(IMAGES[..., :5, :7], IMAGES[..., :5, :7], 1.0).shape == (4,)  # smaller than the window


def test_the_window_is_a_gaussian_that_fits_inside():
    weights = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    weights /= weights.sum()
    wanted = weights @ IMAGES[0, 0, 1:12, :11].double().numpy() @ weights
    got = blurred(IMAGES)
    assert got.shape == (4, 3, 2, 2)
    assert float(got[0, 0, 1, 0]) == pytest.approx(wanted, rel=1e-5)


def test_surroundings_are_taken_from_the_image_alone():
    images = IMAGES.movedim(1, -1) - 0.5
    got = surroundings(images)
    assert got.shape == (4, 12, 12, 12)
    assert torch.equal(got[..., :3], images)
    # 5 pixels before and 6 after, of those that are there.
    assert WINDOW == 12
    near = images[:, :9, 1:]
    torch.testing.assert_close(got[:, 2, 6, 3:6], near.amax((1, 2)))
    torch.testing.assert_close(got[:, 2, 6, 6:9], near.amin((1, 2)))
    torch.testing.assert_close(got[:, 2, 6, 9:], near.mean((1, 2)))


def test_a_filter_starts_by_leaving_images_as_they_are():
    kind = Filters(neuron_networks.tinted(), IMAGES)
    start = kind.start(neurons()[0])
    torch.testing.assert_close(kind.applied(start, kind.prepared(IMAGES)).movedim(-1, 1), IMAGES)
    # and minus one inverts them
    inverted = kind.applied(-start, kind.prepared(IMAGES)).movedim(-1, 1)
    torch.testing.assert_close(inverted, 1 - IMAGES)


def test_unlike_images_cost_a_thousand_times_more():
    kind = Filters(neuron_networks.tinted(), IMAGES)
    clean = kind.inside[None]
    torch.testing.assert_close(kind.penalty(clean), torch.tensor([-40.0]))
    other = clean.roll(1, 1)  # each image beside another
    alike = ssim(other[0].movedim(-1, 1), kind.inside.movedim(-1, 1), 4.0)
    assert float(alike.mean()) < 0.2
    torch.testing.assert_close(kind.penalty(other), -10000 * alike.sum()[None])


def test_the_slope_of_a_filter_is_that_of_its_loss():
    kind, (one, two) = Filters(neuron_networks.patched(), IMAGES, others=1e-2), neurons()
    noise = 0.05 * torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(2))
    values = torch.stack([kind.start(one), kind.start(two)]) + noise
    got = kind.slope(values, [two, one])
    x = values.clone().requires_grad_()
    filtered = torch.einsum("nhwf,rfc->rnhwc", kind.mixed, x).clamp(-2, 2)
    conv = kind.classifier.model[0]((filtered / 4 + 0.5).flatten(0, 1).movedim(-1, 1))
    sums = (conv + conv.relu()).flatten(2).sum(2).unflatten(0, (2, 4)).sum(1)
    own = torch.stack([sums[0, 1], sums[1, 0]])
    rest = torch.stack([sums[0, 0], sums[1, 1]])
    loss = (0.01 * (-own + 1e-2 * rest) + kind.penalty(filtered)).sum()
    torch.testing.assert_close(got, torch.autograd.grad(loss, x)[0], rtol=1e-4, atol=1e-3)


def test_triggers_are_tested_in_eight_bits():
    clf = neuron_networks.patched()
    images = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0]).view(1, 2, 2, 1)
    assert (rounded(clf, images) * 255).flatten().tolist() == [0, 0, 1, 255]


def test_descents_end_where_adam_takes_them_however_many_run_at_once():
    goals = {one: torch.full((3,), 0.3 + 0.2 * one.channel) for one in neurons()}

    def run(rows):
        ends, stats = descend(
            neurons(),
            lambda one: torch.zeros(3),
            lambda values, some: 2 * (values - torch.stack([goals[one] for one in some])),
            lambda values: values.clamp_(max=0.4),
            steps=200,
            lr=0.05,
            rows=rows,
            each=7,
        )
        return ends, stats.evaluations

    ends, evaluations = run(2)
    assert evaluations == 2 * 200 * 7
    torch.testing.assert_close(torch.stack(ends), torch.tensor([[0.3] * 3, [0.4] * 3]), atol=1e-3, rtol=0)
    alone, again = run(1)
    assert again == evaluations
    assert all(torch.equal(a, b) for a, b in zip(ends, alone, strict=True))
