"""Samples with labels: splits that leave some of every class."""

from __future__ import annotations

import torch

from helpers.toy_victims import pictures
from mmbd.data.dataset import split

CLASSES = 5


def test_a_split_has_every_sample_once_and_leaves_some_of_every_class():
    samples = pictures(53, classes=CLASSES)
    learn, left = split(samples, 20, seed=3)
    assert len(learn) + len(left) == 53
    both = torch.cat((learn.inputs, left.inputs)).flatten(1)
    assert len(both.unique(dim=0)) == len(samples.inputs.flatten(1).unique(dim=0))
    assert left.labels.bincount(minlength=CLASSES).min() >= 5  # 10 or 11 of a class: half stays
    few, _ = split(samples, 4, seed=3)
    assert few.labels.bincount().tolist() == [4] * CLASSES
    assert not torch.equal(few.inputs, split(samples, 4, seed=4)[0].inputs)
    assert torch.equal(few.inputs, split(samples, 4, seed=3)[0].inputs)


def test_where_none_need_to_be_left_a_small_class_gives_all_and_a_large_one_the_same():
    samples = pictures(53, classes=CLASSES)
    assert len(split(samples, 20, seed=3, leave=False)[0]) == 53
    assert torch.equal(split(samples, 4, seed=3, leave=False)[0].inputs, split(samples, 4, seed=3)[0].inputs)
