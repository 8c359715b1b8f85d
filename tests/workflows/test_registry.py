"""The gate of MLflow's registry, on a real store in SQLite: moved on exit code 0 alone, and tagged always."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import example_reports
from helpers.command_line import caller
from helpers.planted_files import planted
from helpers.ruled_reports import REASON
from mmbd.base.errors import Failed
from mmbd.workflows import registry
from mmbd.workflows import scan_file as gate

NAME = "classifier"


def test_tags_say_the_verdict_and_what_a_policy_says():
    found = registry.tags(example_reports.ALL["accepted"]())
    assert (found["mmbd.verdict"], found["mmbd.exit_code"], found["mmbd.policy"]) == (
        "backdoored",
        "0",
        "accepted",
    )
    assert REASON in found["mmbd.exception"]
    assert found["mmbd.sha256"] == example_reports.model().sha256
    for name, make in example_reports.ALL.items():
        for key, value in registry.tags(make()).items():
            assert value.isprintable(), (name, key)
            assert len(value) <= 5000, (name, key)


def test_one_model_file_is_scanned_and_which_is_never_guessed(tmp_path):
    choose = registry._model_in  # pyright: ignore[reportPrivateUsage]
    (tmp_path / "MLmodel").write_text("x")
    with pytest.raises(Failed, match=r"holds no model file \(MLmodel\)"):
        choose(tmp_path, None)
    for name in ("a.onnx", "b.safetensors"):
        (tmp_path / name).write_text("x")
    with pytest.raises(Failed, match=r"holds 2 model files \(a.onnx, b.safetensors\): name the one"):
        choose(tmp_path, None)
    assert choose(tmp_path, "a.onnx").name == "a.onnx"
    for outside in ("../x", "/etc/passwd", "none"):
        with pytest.raises(Failed, match="the version holds no "):
            choose(tmp_path, outside)


class Registry:
    """What the gate asks of MLflow, with one version; every change is noted."""

    def __init__(self, folder: Path) -> None:
        self.changes: list[tuple[str, ...]] = []
        self.artifacts = SimpleNamespace(download_artifacts=self.download)
        self.folder = folder

    def MlflowClient(self, **places: Any) -> Registry:  # noqa: N802
        return self

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        if alias != "candidate":
            raise RuntimeError(f"Registered model alias {alias} not found.\nsecond line")
        return SimpleNamespace(version=7)

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        return f"models:/{name}/{version}"

    def download(self, *, artifact_uri: str, dst_path: str, tracking_uri: str | None) -> str:
        shutil.copytree(self.folder, Path(dst_path) / "model")
        return f"{dst_path}/model"

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.changes.append(("tag", version, key, value))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.changes.append(("alias", alias, version))


@pytest.mark.parametrize(
    ("report", "code", "moved"),
    [("clean", 0, True), ("accepted", 0, True), ("backdoored", 1, False), ("rejected", 3, False)],
)
def test_the_alias_moves_on_exit_code_0_alone(tmp_path, monkeypatch, report, code, moved):
    (tmp_path / "model.onnx").write_text("x")
    known = Registry(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", known)
    outcome = gate.Outcome(example_reports.ALL[report](), code)
    seen: list[Path] = []

    def scan(path: Path) -> gate.Outcome:
        seen.append(path)
        return outcome

    found = registry.gate(NAME, candidate="candidate", champion="champion", scan=scan)
    assert (found.version, found.moved, [path.name for path in seen]) == ("7", moved, ["model.onnx"])
    assert not seen[0].exists()  # what was downloaded goes
    assert [change for change in known.changes if change[0] == "alias"] == [
        ("alias", "champion", "7")
    ] * moved
    assert ("tag", "7", "mmbd.exit_code", str(code)) in known.changes
    known.changes.clear()
    assert not registry.gate(NAME, candidate="candidate", champion="c", scan=scan, dry_run=True).moved
    assert known.changes == []
    with pytest.raises(Failed, match=r"^MLflow: Registered model alias none not found\.\\nsecond line$"):
        registry.gate(NAME, candidate="none", champion="champion", scan=pytest.fail)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Any:
    """A registry with one model and a version for each of two files."""
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra mlflow)")
    warnings.simplefilter("ignore")  # MLflow's own
    import mlflow

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model(NAME)
    for number, gain in enumerate((1.0, 20.0), start=1):
        folder = tmp_path / f"artifacts{number}"
        folder.mkdir()
        planted(folder / "model.safetensors", gain=gain)
        client.create_model_version(NAME, source=str(folder))
    return client


@pytest.mark.filterwarnings("ignore")
def test_the_champion_is_the_candidate_that_passed(store, capsys):
    call = caller(capsys)
    command = ("gate", "mlflow", NAME, "--from", "candidate", "--to", "champion", "--null", "population")
    store.set_registered_model_alias(NAME, "candidate", "1")
    code, _, errors = call(*command, "--dry-run", "--quiet")
    assert (code, "champion stays as it was" in errors) == (gate.CLEAN, True), errors
    assert store.get_model_version(NAME, "1").tags == {}
    code, _, errors = call(*command)
    assert code == gate.CLEAN, errors
    assert str(store.get_model_version_by_alias(NAME, "champion").version) == "1"
    assert store.get_model_version(NAME, "1").tags["mmbd.verdict"] == "clean"
    store.set_registered_model_alias(NAME, "candidate", "2")
    code, _, errors = call(*command, "--json", "r.json")
    assert (code, Path("r.json").exists()) == (gate.BACKDOORED, True), errors
    assert f"{NAME} version 2: champion stays as it was" in errors
    assert str(store.get_model_version_by_alias(NAME, "champion").version) == "1"
    tags = store.get_model_version(NAME, "2").tags
    assert (tags["mmbd.verdict"], tags["mmbd.targets"], tags["mmbd.exit_code"]) == ("backdoored", "2", "1")
    code, _, errors = call("gate", "mlflow", "another")
    assert (code, errors.startswith("mmbd: MLflow: ")) == (gate.FAILED, True)
    assert len(errors.splitlines()) == 1


def test_without_mlflow_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"pip install 'mmbd\[mlflow\]'"):
        registry.gate(NAME, candidate="a", champion="b", scan=pytest.fail)
