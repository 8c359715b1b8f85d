"""Files that would run code when loaded: none of it runs, and the refusal says what it was."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import mmbd
from helpers.handmade_checkpoints import legacy, zipped
from helpers.marker_pickles import INERT, Calls, code, pickles
from mmbd.base.errors import Failed, Refused
from mmbd.formats import checkpoints
from mmbd.formats.pickles import rebuilt

NAMES = list(pickles(Path("marker")))
CONTAINERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "alone": ("model.pkl", lambda pickled: pickled),
    "named .safetensors": ("model.safetensors", lambda pickled: pickled),
    "in a zip": ("model.pt", zipped),
    "in a zip named .safetensors": ("model.safetensors", zipped),
    "in a legacy file": ("model.pth", legacy),
    "in a list of legacy storages": ("model.pth", lambda pickled: legacy(b"\x80\x02}.", pickled)),
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    script = tmp_path / "marker.py"
    script.write_text(code(tmp_path / "marker"))
    return tmp_path / "marker"


@contextmanager
def extension() -> Iterator[None]:
    """Code 240 of the extension registry means os.system, so that it could really be called."""
    copyreg.add_extension("posix", "system", 240)
    yield
    copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in INERT])
def test_the_pickles_do_run_under_pickle_itself(name: str, marker: Path) -> None:
    pickled, _ = pickles(marker)[name]
    with extension():
        started = pickle.loads(pickled)
    if isinstance(started, subprocess.Popen):
        started.wait()
    elif isinstance(started, io.IOBase):
        started.close()
    assert marker.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_and_the_refusal_lists_the_globals(
    name: str, container: str, marker: Path, tmp_path: Path
) -> None:
    pickled, expected = pickles(marker)[name]
    suffix, wrap = CONTAINERS[container]
    path = tmp_path / suffix
    path.write_bytes(wrap(pickled))
    if name == "after a harmless pickle" and container.startswith(("in a zip", "in a list")):
        expected = ()  # only the first pickle would be read there, and it holds no tensors
    says = "refused, and nothing in it was run" if expected else "no state dict|no list of its"
    with extension(), pytest.raises(Refused if expected else Failed, match=says) as raised:
        mmbd.load(path)
    assert not marker.exists()
    for each in expected:
        assert each in str(raised.value)


@pytest.mark.parametrize("wrap", [zipped, legacy])
def test_torch_is_not_reached_by_what_the_allow_list_refuses(
    wrap: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *_, **__: reached.append(1))
    for pickled, _ in pickles(tmp_path / "marker").values():
        (tmp_path / "m.pt").write_bytes(wrap(pickled))
        with pytest.raises((Refused, Failed)):
            mmbd.load(tmp_path / "m.pt", arch="mlp", input_shape=(4,))
        if pickled.startswith(pickle.dumps({"weights": [1.0]}, 2)) and wrap is zipped:
            assert reached.pop() == 1  # its first pickle is harmless, and the only one read
        assert not reached


def test_behind_the_allow_list_torch_refuses_too(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should our own lock ever fail, and a payload get into what torch is given."""
    monkeypatch.setattr(checkpoints, "vet", lambda *_: None)
    for name, (pickled, _) in pickles(marker).items():
        if name in INERT:
            continue
        monkeypatch.setattr(rebuilt, "written", lambda *_, evil=pickled: evil)
        (tmp_path / "m.pt").write_bytes(zipped(pickled))
        with pytest.raises((Refused, Failed), match=r"refuses it too|torch cannot read"):
            mmbd.load(tmp_path / "m.pt", arch="mlp", input_shape=(4,))
        assert not marker.exists()


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)


@pytest.mark.parametrize("zipfile", [True, False])
def test_a_whole_module_is_refused_with_advice(zipfile: bool, tmp_path: Path) -> None:
    torch.save(Module(), tmp_path / "m.pt", _use_new_zipfile_serialization=zipfile)
    with pytest.raises(Refused, match="whole model") as raised:
        mmbd.load(tmp_path / "m.pt")
    message = str(raised.value)
    assert "torch.nn.modules.linear.Linear" in message
    assert f"{Module.__module__}.Module" in message
    assert "model.state_dict()" in message


@pytest.mark.parametrize("zipfile", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_payload_in_an_envelope_of_real_weights(
    zipfile: bool, protocol: int, marker: Path, tmp_path: Path
) -> None:
    weights = torch.nn.Linear(4, 3).state_dict()
    value = {"state_dict": weights, "epoch": Calls(os.system, f"touch {marker}")}
    torch.save(value, tmp_path / "m.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipfile)
    with pytest.raises(Refused, match=r"posix\.system"):
        mmbd.load(tmp_path / "m.pt", arch=lambda: torch.nn.Linear(4, 3), input_shape=(4,))
    assert not marker.exists()
    torch.load(tmp_path / "m.pt", weights_only=False)
    assert marker.exists(), "the payload was no payload"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Calls(torch.load, "other.pt"), "torch.serialization.load"),
        (Calls(torch.hub.load, "owner/repo", "model"), "torch.hub.load"),
        (Calls(torch.storage._load_from_bytes, b"x"), "torch.storage._load_from_bytes"),
        (Calls(torch.jit.load, "other.pt"), "torch.jit._serialization.load"),
        (Calls(torch.device, "cpu"), "torch.device"),
    ],
)
def test_calls_of_torch_are_listed(call: Calls, expected: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(pickle.dumps(call, 2))
    with pytest.raises(Refused, match=expected):
        mmbd.load(tmp_path / "m.pt")


def test_globals_that_the_process_allows_torch_are_still_refused(marker: Path, tmp_path: Path) -> None:
    """Somebody's add_safe_globals must not open this door: our own list decides."""
    torch.save({"w": torch.ones(3), "x": Calls(eval, code(marker))}, tmp_path / "m.pt")
    before = set(torch.serialization.get_safe_globals())
    with (
        torch.serialization.safe_globals([eval]),
        pytest.raises(Refused, match=r"not on the allow list: \S*eval"),
    ):
        mmbd.load(tmp_path / "m.pt")
    assert not marker.exists()
    assert set(torch.serialization.get_safe_globals()) == before


def test_persistent_ids_name_storages_and_nothing_else(marker: Path, tmp_path: Path) -> None:
    """Old files may name a class with its source, which torch once compared and patched."""
    module = pickle.dumps("x", 2)[:-1]
    for reference in (b"P42\n.", module + b"Q.", b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\ntQ."):
        for wrap in (zipped, legacy):
            (tmp_path / "m.pt").write_bytes(wrap(reference))
            with pytest.raises(Refused, match="allow list"):
                mmbd.load(tmp_path / "m.pt")
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(4, 3)), tmp_path / "m.pt")
    with pytest.raises(Refused, match="TorchScript") as raised:
        mmbd.load(tmp_path / "m.pt")
    assert "__torch__.torch.nn.modules.linear." in str(raised.value)  # torch may number the class


def test_in_a_process_of_its_own_nothing_is_imported_either(tmp_path: Path) -> None:
    """The refusal must not even import what the pickle names."""
    (tmp_path / "payload_module.py").write_text("open('imported', 'w').close()\n")
    (tmp_path / "m.pt").write_bytes(zipped(b"\x80\x02cpayload_module\nmain\n)R."))
    program = (
        "import sys, mmbd\n"
        "try:\n    mmbd.load('m.pt')\n"
        "except mmbd.Refused as error:\n    print(error)\n    sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "payload_module.main" in done.stdout
    assert not (tmp_path / "imported").exists()
