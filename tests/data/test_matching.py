"""Which class is which: names decide, then numbers, and where neither does there is an error."""

from __future__ import annotations

import pytest

from mmbd.base.errors import Failed
from mmbd.data.matching import places

CIFAR = ("airplane", "automobile", "bird", "cat")
NUMBERS = ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        (CIFAR, CIFAR, [0, 1, 2, 3]),
        (("cat", "bird"), CIFAR, [3, 2]),
        (("Cat", "AIRPLANE"), CIFAR, [3, 0]),
        (("traffic_light", "Stop-Sign"), ("stop sign", "traffic light"), [1, 0]),
        (("a", "A"), ("A", "a"), [1, 0]),  # as they are written comes first
        (("b",), ("a", "b", "a"), [1]),  # only what is asked for must be unambiguous
        (("cafe\u0301",), ("x", "caf\u00e9"), [1]),
        # Numbers for the samples: folders come in the order of text.
        (("0", "1", "10", "2"), tuple(f"class {n}" for n in range(11)), [0, 1, 10, 2]),
        (("0", "2"), CIFAR, [0, 2]),
        (("00000", "00003"), CIFAR, [0, 3]),
        (("00", "01", "10"), tuple(map(str, range(12))), [0, 1, 10]),
        (("0", "1"), ("1", "0"), [1, 0]),
        # Numbers for the classifier, which says nothing of its classes.
        (CIFAR, NUMBERS, [0, 1, 2, 3]),
        ((), CIFAR, []),
    ],
)
def test_which_class_is_which(given, known, expected):
    assert places(given, known) == expected


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        (
            ("airplane", "car", "bird", "cat"),
            CIFAR,
            r"4 classes \(airplane, car, bird, cat\), the classifier 4 \(airplane, automobile, bird, "
            r"cat\)\. Unknown to it: car, which may be one of automobile\. Rename",
        ),
        (("dog", "horse", "ship", "truck"), CIFAR, "Not one name is the same"),
        (CIFAR[:3], NUMBERS, r"3 classes .* the classifier 4 \(0, 1, 2, 3\)\. Not one name"),
        (("1", "2", "3", "4"), CIFAR, "number them from 0"),
        (("1", "2", "3", "4"), NUMBERS, "Unknown to it: 4, which may be one of 0"),
        (CIFAR, CIFAR[:2], "Unknown to it: bird, cat. Rename"),
        (("Cat", "cat"), ("CAT", "dog"), "Some names occur|Unknown"),
        (("a",), ("a", "a"), "Some names occur twice"),
        (("²", "³"), CIFAR, "Not one name"),
        (("9" * 5000,), CIFAR, "Not one name"),
        (("\x1b[31mcat", "bird"), CIFAR, r"\\x1b\[31mcat"),
        (("0", "1", "1", "2"), CIFAR, "Not one name"),
    ],
    ids=range(12),
)
def test_what_cannot_be_told_is_an_error_with_both_lists(given, known, message):
    with pytest.raises(Failed, match=message) as caught:
        places(given, known)
    assert len(str(caught.value)) < 2500


def test_many_names_are_compared_quickly():
    given = tuple(f"name {number}" for number in range(200_000))
    assert places(given[::-1], given)[:2] == [199_999, 199_998]
    with pytest.raises(Failed, match="200000 classes"):
        places(given, given[1:])
