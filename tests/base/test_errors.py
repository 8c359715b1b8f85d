"""One base class of all errors of this package; who catches ValueError catches them too."""

from __future__ import annotations

import pickle

import pytest

from mmbd.base import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
]


def test_every_error_is_here():
    names = {kind.__name__ for kind in KINDS}
    assert names == {
        "MmbdError",
        "Refused",
        "Failed",
        "NotEvaluable",
        "NotMitigated",
        "NotExported",
        "TooFewInputs",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_caught_as_mmbd_errors_and_as_value_errors_and_cross_processes(kind):
    for caught in (errors.MmbdError, ValueError):
        with pytest.raises(caught, match="why"):
            raise kind("why")
    sent = pickle.loads(pickle.dumps(kind("why")))
    assert type(sent) is kind
    assert str(sent) == "why"
