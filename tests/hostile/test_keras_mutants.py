"""Models of Keras with something changed anywhere: they are read, or it is said why not, and nothing else."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from helpers import keras_models
from helpers.keras_models import archive, built, config, saved
from mmbd.base.errors import MmbdError


def mutated(source: random.Random) -> bytes:
    """A model of a few changes: in its description, or in its bytes."""
    name = source.choice(keras_models.NAMES)
    if source.random() < 0.4:
        data = bytearray(keras_models.weights(name) if source.random() < 0.5 else saved(name))
        whole = data.startswith(b"PK")
        for _ in range(source.randint(1, 8)):
            data[source.randrange(len(data) if whole else min(len(data), 6000))] = source.randrange(256)
        return bytes(data) if whole else archive(config(name), bytes(data))
    described = config(name)
    for _ in range(source.randint(1, 3)):
        _mutate(described["config"], source)
    return archive(described, keras_models.weights(name))


ODD = (None, True, -1, 0, 1, 2, 3.5, 1 << 20, 1 << 40, "", "same", "relu", "Dense", [], [1, 2], [[0, 1]], {})


def _mutate(value: Any, source: random.Random) -> None:
    """Change one thing somewhere in plain data."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = source.choice(keys)
        if isinstance(value[key], dict | list) and source.random() < 0.9:
            value = value[key]
            continue
        if isinstance(value, dict) and source.random() < 0.2:
            del value[key]
        else:
            value[key] = copy.deepcopy(source.choice(ODD))
        return


@pytest.mark.parametrize("part", range(4))
def test_whatever_is_changed_it_reads_or_says_why_not(part: int) -> None:
    refused = 0
    for number in range(50):
        data = mutated(random.Random(f"keras {part} {number}"))
        try:
            built(data)
        except MmbdError:
            refused += 1
    assert 0 < refused < 50
