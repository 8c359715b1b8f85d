"""The list of a pickle's globals, against what pickle itself asks for when it loads."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import pathlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.pickles.opcodes import names_in


class Recorder(pickle.Unpickler):
    """Loads, and writes down every global that was asked for."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.asked: list[str] = []

    def find_class(self, module_name: str, global_name: str) -> Any:
        # Protocols before 3 name the modules of Python 2, which pickle translates after this.
        new = {"__builtin__": "builtins", "exceptions": "builtins", "copy_reg": "copyreg"}
        name = global_name.replace("xrange", "range")
        self.asked.append(f"{new.get(module_name, module_name)}.{name}")
        return super().find_class(module_name, global_name)


THINGS = [
    pathlib.PurePosixPath("a/b"),
    datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    collections.deque([1, 2]),
    collections.Counter("aab"),
    complex(1, 2),
    range(3),
    slice(1, 2),
    bytearray(b"abc"),
    frozenset({1}),
    len,
    dict.fromkeys,
    ValueError("x"),
    collections.OrderedDict,
]


@pytest.mark.parametrize("protocol", range(6))
@given(st.lists(st.sampled_from(THINGS), max_size=6), st.text(max_size=5))
def test_exactly_what_pickle_asks_for(protocol: int, things: list[Any], text: str) -> None:
    pickled = pickle.dumps({"things": things, text: [things, text]}, protocol)
    recorder = Recorder(io.BytesIO(pickled))
    recorder.load()
    names = names_in([pickled])
    assert names.complete
    # pickle asks again for what it does not remember; the list has each name once
    assert names.globals == tuple(dict.fromkeys(recorder.asked))


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    names = names_in([data])
    assert isinstance(names.complete, bool)
    assert all(isinstance(name, str) for name in names.globals)


@given(st.integers(0, 5), st.data())
def test_cut_or_changed_pickles_give_an_answer(protocol: int, data: st.DataObject) -> None:
    pickled = bytearray(pickle.dumps(THINGS, protocol))
    for _ in range(data.draw(st.integers(0, 5))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    names_in([bytes(pickled[: data.draw(st.integers(0, len(pickled)))])])


def test_what_was_named_before_the_end_is_listed() -> None:
    pickled = pickle.dumps(THINGS[:2], 4)
    names = names_in([pickled[:-1]])
    assert not names.complete
    assert "datetime.datetime" in names.globals


def test_pickles_that_follow_each_other() -> None:
    first, second = pickle.dumps([1], 2), pickle.dumps(len, 2)
    assert names_in([first + second]).globals == ("builtins.len",)
    assert names_in([first + pickle.dumps(len, 0)]).globals == ("builtins.len",)
    assert names_in([first + b"cos\nsystem\n" + bytes(50)]).globals == ()  # raw numbers after it
    assert names_in([first, second]).globals == ("builtins.len",)


def test_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 10)
    assert not names_in([pickle.dumps(list(range(20)), 2)]).complete
    monkeypatch.setattr(pickles, "MAX_NAMES", 2)
    assert len(names_in([b"ca\nb\nca\nc\nca\nd\nca\ne\n."]).globals) == 2
    assert names_in([b"c" + b"x" * 20_000 + b"\ny\n."]).globals == ()


def test_the_names_of_python_2_are_those_that_python_3_imports() -> None:
    assert names_in([b"\x80\x02c__builtin__\neval\n."]).globals == ("builtins.eval",)
    assert names_in([b"\x80\x03c__builtin__\neval\n."]).globals == ("__builtin__.eval",)
