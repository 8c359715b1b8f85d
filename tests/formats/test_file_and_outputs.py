"""Of several outputs, a file's own words about its classes choose none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor, nn

import mmbd
from mmbd.base.errors import NotEvaluable


class Two(nn.Module):
    """Returns seven features, and the logits of five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(x.flatten(1))
        return features, self.last(features)


def written(folder: Path, **words: Any) -> Path:
    spec = {"version": 1, "arch": "other", "arguments": {}, "input_shape": [3, 2, 2], **words}
    save_file(Two().state_dict(), folder / "two.safetensors", {"mmbd": json.dumps(spec)})
    return folder / "two.safetensors"


@pytest.mark.parametrize(
    "words", [{"classes": 7}, {"classes": 7, "class_names": list("abcdefg")}, {"classes": 5}]
)
def test_the_files_count_of_classes_does_not_choose(tmp_path: Path, words: dict[str, Any]) -> None:
    path = written(tmp_path, **words)
    with pytest.raises(NotEvaluable, match=r"any of which may be them \(0 \(3, 7\), 1 \(3, 5\)"):
        mmbd.load(path, arch=Two, input_shape=(3, 2, 2))


def test_the_users_words_do_and_the_files_names_are_taken_where_they_fit(tmp_path: Path) -> None:
    path = written(tmp_path, classes=5, class_names=list("abcde"))
    loaded = mmbd.load(path, arch=Two, input_shape=(3, 2, 2), output=1)
    assert loaded.classifier.class_names == tuple("abcde")
    assert mmbd.load(path, arch=Two, input_shape=(3, 2, 2), classes=5).classifier.classes == 5
    own = mmbd.load(path, arch=Two, input_shape=(3, 2, 2), class_names=list("vwxyz"))
    assert own.classifier.class_names == tuple("vwxyz")
