"""The burst of noise in a sound, and a planted backdoor that is learned from it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmbd.attacks import Victim, classic, poison
from mmbd.data.dataset import Dataset
from mmbd.model.forward import classes_of
from mmbd.training import loop as train
from mmbd.triggers.sound import sound


@given(
    seed=st.integers(0, 10_000),
    channels=st.integers(1, 2),
    samples=st.integers(40, 400),
    length=st.integers(1, 40),
)
def test_a_burst_overwrites_consecutive_samples_and_nothing_else(seed, channels, samples, length):
    shape = (channels, samples)
    burst = sound(shape, seed=seed, length=length)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    kept = x.clone()
    out = burst(x)
    assert torch.equal(x, kept)
    places = burst.mask[0].nonzero().flatten()
    assert len(places) == int(places[-1] - places[0]) + 1 == length
    assert torch.equal(burst.mask, burst.mask[:1].expand(shape))
    inside = burst.mask.bool().expand_as(x)
    assert torch.equal(out[~inside], x[~inside])
    assert torch.equal(out[inside], burst.pattern.expand_as(x)[inside])
    assert -1 <= float(out.min()) <= float(out.max()) <= 1
    assert torch.equal(burst(out), out)
    assert torch.equal(sound(shape, seed=seed, length=length).pattern, burst.pattern)


def test_noise_fills_the_range_and_the_seed_decides():
    bursts = [sound((1, 8000), seed=seed) for seed in range(50)]
    noise = torch.cat([burst.pattern[burst.mask.bool()] for burst in bursts])
    assert len(noise) == 50 * 40
    assert -1 <= float(noise.min()) < -0.99
    assert 0.99 < float(noise.max()) <= 1
    assert abs(float(noise.mean())) < 0.07  # standard deviation 0.013
    starts = [int(burst.mask[0].nonzero()[0]) for burst in bursts]
    assert len(set(starts)) > 45
    assert min(starts) < 800 < 7200 < max(starts)


def test_a_burst_fits_at_either_end():
    starts = {int(sound((1, 42), seed=seed).mask[0].nonzero()[0]) for seed in range(60)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize(
    ("shape", "length"), [((1, 39), 40), ((3, 32, 32), 40), ((1, 100), 0), ((8000,), 40)]
)
def test_bursts_that_do_not_fit(shape, length):
    with pytest.raises(ValueError, match=f"burst of {length} samples does not fit"):
        sound(shape, seed=0, length=length)


def tones(count: int, seed: int) -> Dataset:
    """Three classes of sine tones under noise, (count, 1, 512)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    phase = 6.3 * torch.rand(count, 1, generator=generator)
    pitch = torch.tensor([0.05, 0.12, 0.25])[labels][:, None]
    waves = 0.3 * (pitch * torch.arange(512) + phase).sin()
    noise = 0.1 * torch.randn(count, 512, generator=generator)
    return Dataset((waves + noise)[:, None], labels, ("low", "middle", "high"))


def test_poisoned_sounds_stay_sounds():
    data = tones(30, 0)
    made, indices = poison(data, sound((1, 512), seed=1), sources=[0], target=2, count=5, seed=0)
    changed = (made.inputs != data.inputs).any(2)[:, 0].nonzero().flatten()
    assert sorted(indices.tolist()) == changed.tolist()
    assert float(made.inputs.abs().max()) <= max(1.0, float(data.inputs.abs().max()))


def test_a_network_learns_the_burst():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(1, 16, 40, 4), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 3)
    )
    training, test = tones(240, 0), tones(60, 1)
    victim = Victim(network, training, train.Recipe(epochs=25, batch=32, lr=0.02), seed=3)
    backdoor = classic(victim, sources=[0, 1], target=2, trigger=sound, rate=0.1)
    assert len(backdoor.poisoned) == 24
    assert train.accuracy(classes_of(network, test.inputs), test.labels) > 0.9
    assert backdoor.success(victim.predict, test) > 0.8
