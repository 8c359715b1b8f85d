"""Cards: read back as written, refused when wrong; exclusions by hand-worked numbers."""

from __future__ import annotations

import json

import pytest

from mmbd.base.errors import Failed
from mmbd.zoo import cards


def card(name: str = "m", accuracy: float = 0.9, asr: float | None = None, **changes):
    kind = "clean" if asr is None else "badnet"
    return {
        "card": 1,
        "name": name,
        "file": f"{name}.safetensors",
        "data": "digits",
        "arch": "mlp",
        "label": "clean" if asr is None else "backdoored",
        "attack": kind,
        "seed": 0,
        "sources": [],
        "targets": [] if asr is None else [3],
        "accuracy": accuracy,
        "asr": asr,
        "sha256": "0" * 64,
        "settings": {"attack": {"kind": kind}},
    } | changes


def test_written_and_read_back(tmp_path):
    cards.write(tmp_path, card(asr=0.9))
    assert cards.read(tmp_path / "m.json") == card(asr=0.9)
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"card": 2}, "a card of version 2; this release reads 1"),
        ({"name": "other"}, "of another model, 'other'"),
        ({"seed": True}, "card.seed is True, expected integer"),
        ({"sha256": None}, "card.sha256 is null, expected string"),
        ({"accuracy": 1.5}, "card.accuracy is 1.5, expected at most 1"),
        ({"asr": "0.9"}, "card.asr is '0.9', expected number or null"),
        ({"label": "clean"}, "label 'clean' does not go with asr 0.9"),
        ({"label": "poisoned"}, "card.label is 'poisoned', expected one of"),
        ({"targets": [-1]}, r"card.targets\[0\] is -1, expected at least 0"),
        ({"settings": {"data": []}}, "card.settings.data is a list, expected object"),
        ({"seconds": 1e300}, "card.seconds is 1e.300, expected less than"),
        ({"settings": []}, "card.settings is a list, expected object"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, change, message):
    file = tmp_path / "m.json"
    file.write_text(json.dumps(card(asr=0.9) | change))
    with pytest.raises(Failed, match=message):
        cards.read(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"card": NaN}', "[" * 100_000])
def test_what_is_no_card_is_refused(tmp_path, text):
    file = tmp_path / "m.json"
    file.write_text(text)
    with pytest.raises(Failed, match=r"m\.json"):
        cards.read(file)


def test_attacks_below_80_per_cent_have_failed():
    made = [card("a", asr=0.8), card("b", asr=0.7999), card("c", asr=0.0)]
    assert set(cards.excluded(made)) == {"b", "c"}
    assert cards.excluded(made)["c"] == "attack failed: ASR 0.0%, below 80%"


def test_accuracy_falls_by_more_than_five_points_from_the_clean_mean():
    made = [
        card("clean 1", 0.90),
        card("clean 2", 0.80),  # their mean is 0.85
        card("kept", 0.80, asr=1.0),
        card("fell", 0.7999, asr=1.0),
        card("both", 0.5, asr=0.5),
        # Others have nothing to do with it.
        card("other data", 0.3, asr=1.0, data="cifar10"),
        card("other arch", 0.3, asr=1.0, arch="cnn"),
        card("cnn", 0.34, arch="cnn"),
    ]
    excluded = cards.excluded(made)
    assert excluded == {
        "fell": "accuracy fell: 80.0%, clean models have 85.0%",
        "both": "attack failed: ASR 50.0%, below 80%; accuracy fell: 50.0%, clean models have 85.0%",
    }
    assert cards.excluded(reversed(made)) == excluded


def test_clean_models_fall_too_but_difficult_ones_may():
    made = [card(str(number), 0.9) for number in range(9)] + [card("diverged", 0.1)]
    difficult = card("imbalance", 0.4, settings={"attack": {"kind": "imbalance"}})
    excluded = cards.excluded([*made, difficult])
    assert set(excluded) == {"diverged"}
    # Nothing to compare with: none is excluded.
    assert cards.excluded([difficult, card("x", 0.1, asr=0.9, data="other")]) == {}
