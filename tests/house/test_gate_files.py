"""What other tools read here: the GitHub Action, the hooks of pre-commit, and the page on gates."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from mmbd.formats.table import SUFFIXES
from mmbd.render.save import RENDERERS
from mmbd.workflows import policy

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
PAGE = (ROOT / "docs/gates.md").read_text(encoding="utf-8")


def test_no_input_of_the_action_is_pasted_into_a_command():
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    for step in steps:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == (step.get("shell") == "bash")
    scan = next(step["run"] for step in steps if step.get("id") == "scan")
    assert ' -- "${names[@]}"' in scan  # a file may be called --level=1e-9


def test_the_actions_last_word_is_the_exit_code():
    last = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"][-1]
    assert last["run"].strip() == 'exit "$CODE"'
    assert last["env"] == {"CODE": "${{ steps.scan.outputs.exit-code }}"}


@pytest.mark.skipif(shutil.which("check-jsonschema") is None, reason="check-jsonschema is not installed")
def test_the_action_is_valid():
    words = ["check-jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout


def test_hooks_take_every_file_that_is_a_model_by_its_name():
    hooks = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    assert {hook["language"] for hook in hooks} == {"python", "system"}
    assert {tuple(hook.get("stages", ())) for hook in hooks} == {(), ("manual",)}
    for hook in hooks:
        assert hook["require_serial"]
        assert hook["entry"].endswith(" --")
        found = [suffix for suffix in SUFFIXES if re.search(hook["files"], f"model{suffix}")]
        assert found == [suffix for suffix in SUFFIXES if not suffix.endswith(".json")]


def test_the_page_names_every_form_and_its_policy_is_one(tmp_path):
    for kind, form in RENDERERS:
        assert kind != "report" or f"`{form}`" in PAGE
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mmbd.toml").write_text(text, encoding="utf-8")
    found = policy.read(tmp_path / "mmbd.toml")
    assert set(tomllib.loads(text)) == {"version", *policy.FIELDS}
    assert len(found.exceptions) == 1
