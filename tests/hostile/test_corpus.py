"""The corpus of hostile files, scanned as a user scans them: nothing runs, and each is answered."""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.hostile.steps import has_step
from helpers.marker_pickles import code
from hostile.corpus import SEED, corpus, sample
from hostile.corpus.asking import MANNERS, OUTPUTS, arguments, faults, remove, said
from hostile.corpus.case import REFUSED, Case
from hostile.corpus.places import NAMES
from hostile.corpus.valid import MLP, state, tensor_file, written
from hostile.corpus.watching import watching

Answers = Callable[[list[tuple[int, Case]]], None]
FEWEST = 500
SAMPLED = 200
GIGABYTES = 4  # of address space: torch alone maps much of it


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path, as payloads have to name it in a byte of length."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "marker.py").write_text(code(folder / "marker"))
    (folder / "at" / OUTPUTS).mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def cases(scratch: Path) -> list[Case]:
    return corpus(scratch / "marker")


@pytest.fixture
def answers(
    scratch: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[tuple[int, Case]]], None]:
    """Scans files one after the other; every fault of every file is shown."""
    folder, marker = scratch / "at", scratch / "marker"
    monkeypatch.chdir(folder)

    def run(chosen: list[tuple[int, Case]]) -> None:
        importlib.import_module("mmbd.mitigators")  # what is brought in late
        for suffix, content in ((".safetensors", tensor_file(state(1))), (".pt", written(state(1)))):
            for manner in range(len(MANNERS)):
                warm = Case("warm", "an honest file", content, REFUSED, suffix, MLP)
                faults(warm, manner, folder, capfd.readouterr, marker)
        wrong: list[str] = []
        ends: Counter[str] = Counter()
        costs: list[tuple[float, float, str]] = []
        for number, case in chosen:
            found, cost, code = faults(case, number, folder, capfd.readouterr, marker)
            where = f"{case.kind}: {case.name}"
            ends[f"{case.kind}: {code}"] += 1
            costs.append((cost.seconds, cost.megabytes or 0.0, where))
            wrong += [f"{number}: {where}: {fault}" for fault in found]
        with capfd.disabled():  # for whoever runs it with -s
            longest, largest = max(costs), max(costs, key=lambda each: each[1])
            print(f"\n{len(chosen)} files in {sum(each[0] for each in costs):.0f} s; {dict(ends)}")
            print(f"longest {longest[0]:.1f} s ({longest[2]}), most {largest[1]:.0f} MB", end=" ")
            print(f"({largest[2]})")
        assert not wrong, f"{len(wrong)} faults:\n" + "\n".join(wrong)

    return run


def test_the_corpus_is_large_and_the_same_every_time(cases: list[Case], scratch: Path) -> None:
    assert len(cases) >= FEWEST
    again = corpus(scratch / "marker")
    assert [(each.kind, each.name) for each in cases] == [(each.kind, each.name) for each in again]
    for one, other in zip(cases, again, strict=True):
        assert one.content == other.content or not isinstance(one.content, bytes), one.name
    assert len({(each.kind, each.name) for each in cases}) == len(cases)
    other = corpus(scratch / "marker", SEED + 1)
    assert len({each.content for each in other} - {each.content for each in cases}) > 100


def test_a_sample_of_the_corpus(cases: list[Case], answers: Answers) -> None:
    answers(sample(cases, SAMPLED, SEED))


@pytest.mark.slow
def test_the_whole_corpus(cases: list[Case], answers: Answers) -> None:
    answers(list(enumerate(cases)))


SOME = [
    "code: os.system, protocol 2, in a zip",
    "no file: ten sparse gigabytes of zip",
    "zip: 300 MB of archive/data.pkl",
]
MORE = [
    "code: nested, protocol 4, alone",
    "allow list: bomb, nine hundred names",
    "allow list: the same, kept (legacy)",
    "zip: 300 MB of archive/data/0",
    "zip: 30 MB in lzma",
    "safetensors: a header of nine megabytes",
    "safetensors: sixty thousand tensors",
    "metadata: poolings without end",
    "metadata: a large input",
    "state dict: thousands of classes of a stride of 0",
    "no file: a FIFO",
    "no file: a link to /dev/zero",
    "no file: a sparse gigabyte with a short header",
    f"name: a payload: {NAMES[4][:30]!r}",
    "folder: SavedModel",
    "damaged: torch zip, cut to 0",
]


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE)])
def test_in_a_process_of_its_own_with_little_room(name: str, cases: list[Case], scratch: Path) -> None:
    """The command itself, under a limit of address space: the same answers, and no memory error."""
    ((number, case),) = [pair for pair in enumerate(cases) if f"{pair[1].kind}: {pair[1].name}" == name]
    folder = scratch / "at"
    file = case.write(folder, number)
    given = arguments(case, file, number)
    size = GIGABYTES << 30
    done = subprocess.run(
        [sys.executable, "-m", "mmbd", *given],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        errors="replace",
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )
    remove(folder / file)
    assert done.returncode in case.codes, done.stdout + done.stderr
    as_json = given[given.index("--json") + 1 :][:1] == ["-"] if "--json" in given else False
    assert said(case, done.stdout, done.stderr, f"f{number:04d}", as_json) == []
    assert "memory" not in done.stdout + done.stderr
    assert not (scratch / "marker").exists()


# ------------------------------------------------------------------- that the checks can fail


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("m.pt: the file is cut short: download it again", True),
        ("m.pt: it is a pickle. Save the weights alone", True),
        ("m.pt: two fit: name one with --entry NAME", True),
        ("m.pt: two could be meant, or\nscan the other", True),
        ("m.pt: the file is cut short", False),
        ("m.pt: torch.save does not write members of that name", False),
        ("m.pt: it names what torch cannot load and scanned is nothing", False),
        ("m.pt: no state dict; save is what it does", False),
    ],
)
def test_what_a_next_step_is(message: str, told: bool) -> None:
    assert has_step(message) == told


def test_what_is_wrong_with_an_answer_is_seen() -> None:
    case = Case("kind", "name", b"", says="cut short")
    good = "NOT EVALUABLE  failed: f0001.pt: cut short: download it again\nf0001.pt\n"
    assert said(case, good, "", "f0001", False) == []
    for out, errors, fault in [
        (good.replace("short", "sh\x1bort"), "", "printed"),
        (good.replace("again", "again\u202e"), "", "printed"),
        (good + "Traceback (most recent", "", "traceback"),
        (good, "mmbd: something", "standard error"),
        (good.replace("f0001", "f0002"), "", "name the file"),
        (good.replace(": download it again", ""), "", "next step"),
        (good.replace("cut short", "long"), "", "does not say"),
    ]:
        assert any(fault in each for each in said(case, out, errors, "f0001", False)), fault


def test_what_a_file_would_do_is_seen(tmp_path: Path) -> None:
    def seen(act: Callable[[], object], strict: bool = True) -> str:
        done: list[str] = []
        with watching(str(tmp_path / "reports"), done, strict=strict):
            act()
        return " ".join(done)

    (tmp_path / "reports").mkdir()
    assert seen(lambda: (tmp_path / "a").write_text("x")).startswith("open ")
    assert seen(lambda: (tmp_path / "a").read_text()) == ""
    assert seen(lambda: (tmp_path / "reports" / "a").write_text("x")) == ""
    assert "exec " in seen(lambda: eval("1"))
    assert seen(lambda: eval("1"), strict=False) == ""
    assert seen(lambda: os.system("true")).startswith("os.system ")
    assert "subprocess.Popen" in seen(lambda: subprocess.run(["true"], check=True))
    assert "pickle.find_class" in seen(lambda: pickle.loads(b"cbuiltins\nlen\n."))
    assert seen(lambda: socket.socket().close()).startswith("socket.")
    with pytest.raises(ImportError):
        assert seen(lambda: importlib.import_module("payload_of_a_file"))
