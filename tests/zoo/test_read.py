"""What every row of READERS has to do. A new kind of zoo needs a sample here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers import toy_zoos
from helpers.foreign_zoos import ARCH, result, table, trojai, weights
from mmbd.base.errors import Failed
from mmbd.formats.options import LoadOptions
from mmbd.zoo import read
from mmbd.zoo.read import READERS


def _table(folder: Path) -> Path:
    torch.save(weights(), folder / "a.pt")
    return table(folder, "a.pt,backdoored,3", "none.pt,clean,")


def _own(folder: Path) -> Path:
    toy_zoos.own(folder)
    (folder / "broken.json").write_text('{"card": 1}')
    return folder


def _trojai(folder: Path) -> Path:
    trojai(folder / "id-0", "1")
    trojai(folder / "id-1", "maybe")
    return folder


def _backdoorbench(folder: Path) -> Path:
    result(folder / "one")
    (folder / "two").mkdir()
    (folder / "two" / "attack_result.pt").write_bytes(b"PK\x03\x04 cut short, alas")
    return folder


# A zoo with at least one good entry and one that is broken.
SAMPLES: dict[str, Callable[[Path], Path]] = {
    "mmbd": _own,
    "trojai": _trojai,
    "backdoorbench": _backdoorbench,
    "table": _table,
}


def test_every_kind_has_a_sample():
    assert set(SAMPLES) == set(READERS)


@pytest.mark.parametrize("kind", SAMPLES)
def test_its_reader_recognises_it_and_no_other_does(kind, tmp_path):
    path = SAMPLES[kind](tmp_path)
    assert [name for name, row in READERS.items() if row.recognise(path)] == [kind]
    assert READERS[kind].title


@pytest.mark.parametrize("kind", SAMPLES)
def test_good_entries_open_and_broken_ones_say_why(kind, tmp_path):
    path = SAMPLES[kind](tmp_path)
    zoo = read(path, LoadOptions(**ARCH))
    assert zoo == read(str(path), **ARCH) == pickle.loads(pickle.dumps(zoo))  # sent to other processes
    assert zoo.entries
    ((_, reason),) = zoo.broken
    assert reason
    for entry in pickle.loads(pickle.dumps(zoo)).entries:
        assert entry.open().classes >= 4
        assert entry.label in ("clean", "backdoored")


def test_what_is_no_zoo(tmp_path):
    with pytest.raises(Failed, match=r"no zoo: expected zoo\.json"):
        read(tmp_path)
    with pytest.raises(Failed, match="expected a zoo's folder"):
        read(Path("nowhere"))
