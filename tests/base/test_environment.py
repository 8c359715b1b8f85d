"""Where figures were made: what is kept beside them."""

from __future__ import annotations

import json

import torch

import mmbd
from mmbd.base import environment


def test_versions_are_those_that_run():
    found = environment.versions()
    assert found["mmbd"] == mmbd.__version__
    assert found["torch"] == str(torch.__version__)
    assert environment.environment().items() >= found.items()


def test_a_processor_is_named_on_systems_that_do_not_tell(monkeypatch, tmp_path):
    environment.processor.cache_clear()
    monkeypatch.setattr(environment, "Path", lambda _: tmp_path / "nothing")
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "")
    try:
        assert environment.processor() == "unknown processor"
    finally:
        environment.processor.cache_clear()


def test_hardware_of_a_card_is_json_with_the_device_that_was_used():
    found = environment.hardware("cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert found["name"] == environment.processor()
    assert found["threads"] == torch.get_num_threads()
