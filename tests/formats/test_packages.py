"""Networks in the user's own packages: found in the working folder, and nothing else there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import mmbd
from helpers import own_process
from mmbd.base.errors import Failed

NET = """
import torch.nn as nn
from .blocks import conv

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = conv(3, 10)

    def forward(self, x):
        return self.c(x).mean((2, 3))
"""
BLOCKS = """
import torch.nn as nn

def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, stride=2)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package under a name that no other test has imported, and weights beside it."""
    name = f"nets_{abs(hash(tmp_path.name)):x}"
    package = tmp_path / name
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from .net import Net\n")
    (package / "net.py").write_text(NET)
    (package / "blocks.py").write_text(BLOCKS)
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text(
        "from ..net import Net\nfrom ..blocks import conv\ndef make(): return Net()\n"
    )
    state = nn.Conv2d(3, 10, 3).state_dict()
    torch.save({f"c.{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    return package


def load(arch: str) -> mmbd.load.Loaded:
    return mmbd.load("w.pt", arch=arch, input_shape=(3, 8, 8))


@pytest.mark.parametrize(
    "arch",
    [
        "{}:Net",
        "{}.net:Net",
        "{}.inner.deep:make",
        "{}/net.py:Net",
        "{}/inner/deep.py:make",
        "{}/__init__.py:Net",
    ],
)
def test_both_forms_find_it(arch: str, project: Path) -> None:
    path = list(sys.path)
    loaded = load(arch.format(project.name))
    assert loaded.classifier.classes == 10
    assert sys.path == path


def test_a_file_in_a_package_that_names_its_own_package(project: Path) -> None:
    (project / "net.py").write_text(NET.replace("from .blocks", f"from {project.name}.blocks"))
    assert load(f"{project.name}/net.py:Net").classifier.classes == 10


def test_a_file_in_a_package_is_read_anew_and_does_not_take_the_packages_name(project: Path) -> None:
    load(f"{project.name}/net.py:Net")
    assert project.name not in sys.modules
    (project / "blocks.py").write_text("raise RuntimeError('changed')\n")
    with pytest.raises(Failed, match="RuntimeError: changed"):
        load(f"{project.name}/net.py:Net")
    assert not [name for name in sys.modules if name.startswith(f"mmbd_user_{project.name}")]


def test_what_is_installed_comes_before_the_working_folder(project: Path) -> None:
    """No stranger's file takes a module's place; `mailbox` is Python's own."""
    assert "mailbox" not in sys.modules
    Path("mailbox.py").write_text("open('ran', 'w').close()\n")
    (project / "net.py").write_text(f"import mailbox\n{NET}")
    assert load(f"{project.name}.net:Net").classifier.classes == 10
    assert not Path("ran").exists()
    assert sys.modules.pop("mailbox").__file__ != str(Path("mailbox.py").resolve())


def test_the_models_folder_is_importable_for_nobody(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    Path("w.pt").rename(folder / "w.pt")
    (folder / "beside_the_model.py").write_text("open('ran', 'w').close()\n")
    for arch in ("beside_the_model:make", f"{project.name}.net:Net"):
        (project / "net.py").write_text(f"import beside_the_model\n{NET}")
        with pytest.raises(Failed, match="No module named 'beside_the_model'"):
            mmbd.load(folder / "w.pt", arch=arch, input_shape=(3, 8, 8))
    assert not Path("ran").exists()


def test_the_working_folder_is_importable_only_meanwhile(project: Path) -> None:
    """While the network is built and run it is gone again: what torch may look for is not there."""
    Path("left_lying_here.py").write_text("open('ran', 'w').close()\n")
    (project / "late.py").write_text(
        "from .net import Net\n"
        "def make():\n"
        "    try:\n"
        "        import left_lying_here\n"
        "    except ImportError:\n"
        "        pass\n"
        "    return Net()\n"
    )
    assert load(f"{project.name}.late:make").classifier.classes == 10
    assert not Path("ran").exists()


def test_errors_say_where(project: Path) -> None:
    (project / "blocks.py").write_text("import torch\n\n1 / 0\n")
    for arch in (f"{project.name}.net:Net", f"{project.name}/net.py:Net"):
        with pytest.raises(
            Failed,
            match=r"ZeroDivisionError: division by zero \(at .*blocks\.py, "
            r"line 3\)",
        ):
            load(arch)
    with pytest.raises(Failed, match=f"No module named 'no_such_package'; looked in {Path.cwd()}"):
        load("no_such_package.net:Net")
    (project / "blocks.py").write_text(BLOCKS)
    with pytest.raises(Failed, match=r"has no function or class 'Nett'.*imported from .*__init__"):
        load(f"{project.name}/__init__.py:Nett")


def test_a_package_whose_name_is_taken(project: Path) -> None:
    """`email` is Python's own."""
    project.rename("email")
    with pytest.raises(Failed, match=r"'email' is .*email/__init__\.py: name the file, as in email/"):
        load("email.net:Net")
    assert load("email/net.py:Net").classifier.classes == 10


@pytest.mark.parametrize("form", ["{}.net:Net", "{}/net.py:Net"])
def test_the_command_line_finds_it_too(form: str, project: Path) -> None:
    """However it is started: the console script, like the fork, has no working folder on its path."""
    arguments = ("scan", "w.pt", "--arch", form.format(project.name), "--input", "3x8x8")
    arguments += ("--quiet", "--steps", "2", "--no-universal")
    started = subprocess.run(
        [sys.executable, "-m", "mmbd", *arguments],
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    for done in (started, own_process.mmbd(*arguments)):
        assert "No module named" not in done.stderr + done.stdout
        assert done.returncode in (0, 1, 3), done.stderr  # judged, or searches that got stuck
