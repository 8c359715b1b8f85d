"""Folders of the Hugging Face hub: the library's own answers, and nothing of the folder that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmbd
from mmbd.base.errors import Failed, Refused
from mmbd.formats.networks.shim import torchvision_usable

torchvision_usable()
transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra hf)")

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}
LABELS = {0: "cat", 1: "dog", 2: "fox"}
PIXELS = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.25],
    "size": {"height": 16, "width": 16},
}
WAVES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8],
    "conv_stride": [5, 4],
    "conv_kernel": [10, 8],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    write(folder, "ViT", "ForImageClassification", VIT, PIXELS)
    return folder


def write(
    folder: Path, family: str, task: str, config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None
) -> Any:
    torch.manual_seed(0)
    made = getattr(transformers, f"{family}Config")(**config, id2label=LABELS)
    network = getattr(transformers, f"{family}{task}")(made).eval()
    network.save_pretrained(folder)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return network


def changed(folder: Path, to: Path, **entries: Any) -> Path:
    """A copy of a folder with other entries in its config.json; None takes one away."""
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    config = json.loads((to / "config.json").read_text()) | entries
    kept = {key: value for key, value in config.items() if value is not None}
    (to / "config.json").write_text(json.dumps(kept))
    return to


@pytest.mark.parametrize(
    ("family", "config", "size"),
    [
        ("ViT", VIT, 16),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}, 16),
        (
            "Swin",
            {
                "image_size": 16,
                "patch_size": 4,
                "embed_dim": 8,
                "depths": [1],
                "num_heads": [2],
                "window_size": 2,
            },
            16,
        ),
    ],
)
def test_images_are_answered_as_the_library_does(
    family: str, config: Mapping[str, Any], size: int, tmp_path: Path
) -> None:
    network = write(tmp_path, family, "ForImageClassification", config, PIXELS)
    loaded = mmbd.load(tmp_path)
    clf = loaded.classifier
    assert clf.domain.shape == (3, size, size)
    assert clf.class_names == ("cat", "dog", "fox")
    inputs = torch.rand(2, 3, size, size, requires_grad=True)
    mean, std = (torch.tensor(PIXELS[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    torch.testing.assert_close(clf(inputs), network((inputs - mean) / std).logits)
    (slope,) = torch.autograd.grad(clf(inputs).sum(), inputs)
    assert slope.abs().sum() > 0
    assert loaded.model.architecture == f"{family}ForImageClassification (transformers)"


def test_sounds_are_standardised_as_the_extractor_does(tmp_path: Path) -> None:
    extractor = {"do_normalize": True, "sampling_rate": 4000}
    network = write(tmp_path, "Wav2Vec2", "ForSequenceClassification", WAVES, extractor)
    loaded = mmbd.load(tmp_path)
    assert loaded.classifier.domain.shape == (1, 4000)
    sound = torch.rand(1, 1, 4000) * 2 - 1
    flat = sound[0]
    given = (flat - flat.mean()) / (flat.var(correction=0) + 1e-7).sqrt()
    torch.testing.assert_close(loaded.classifier(sound), network(given).logits.detach(), atol=1e-5, rtol=1e-4)
    assert any(note.startswith("assumed: sounds of one second") for note in loaded.notes)


def test_shards_and_pickled_weights_are_the_same_network(vit: Path, tmp_path: Path) -> None:
    inputs = torch.rand(2, 3, 16, 16)
    expected = mmbd.load(vit).classifier(inputs)
    tensors = load_file(vit / "model.safetensors")
    for kind in ("shards", "bin"):
        (folder := tmp_path / kind).mkdir()
        for name in ("config.json", "preprocessor_config.json"):
            (folder / name).write_bytes((vit / name).read_bytes())
        if kind == "bin":
            torch.save(tensors, folder / "pytorch_model.bin")
        else:
            names = list(tensors)
            parts = {"a.safetensors": names[:4], "b.safetensors": names[4:]}
            for part, held in parts.items():
                save_file({name: tensors[name] for name in held}, folder / part)
            index = {"weight_map": {name: part for part, held in parts.items() for name in held}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        loaded = mmbd.load(folder)
        torch.testing.assert_close(loaded.classifier(inputs), expected)
        read = [note for note in loaded.notes if note.startswith("also read: ")]
        assert len(read) == {"shards": 4, "bin": 2}[kind]


@pytest.mark.parametrize(
    ("entries", "kind", "said"),
    [
        ({"auto_map": {"AutoModel": "evil.Net"}}, Refused, r"code of the folder's own \(evil\.Net\)"),
        ({"model_type": "evil"}, Refused, "'evil', which transformers has no classifier"),
        ({"architectures": ["ViTModel"]}, Refused, "'ViTModel', expected a classifier"),
        ({"architectures": [["ViT"]]}, Refused, "expected a classifier"),
        ({"quantization_config": {"quant_method": "gptq"}}, Refused, "quantised"),
        ({"num_hidden_layers": 1_000_000}, Failed, "num_hidden_layers are 1000000, but the folder holds"),
        ({"hidden_size": 1 << 29}, Failed, "too few for that"),
        ({"intermediate_size": 1 << 20}, Failed, "too few for that"),
        ({"num_hidden_layers": 2}, Failed, "missing: vit.layers.1"),
        ({"num_hidden_layers": 0}, Failed, "unexpected: vit"),
        ({"hidden_size": "os.system"}, Failed, "config.json is not one of 'vit'"),
        ({"id2label": {"1": "a", "7": "b"}}, Failed, "does not number its classes"),
        ({"id2label": {"0": "a", "1": "b"}}, Failed, "of another shape: classifier.bias, classifier.weight"),
        ({"num_channels": -1}, Failed, "num_channels -1"),
        ({"image_size": 1 << 40}, Failed, "whole number beyond"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused_or_broken(
    vit: Path, tmp_path: Path, entries: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        mmbd.load(changed(vit, tmp_path, **entries))


def test_entries_that_fetch_or_choose_code_are_left_out(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {
        "attn_implementation": "evil/kernels",
        "_attn_implementation": "evil/kernels",
        "transformers_weights": "../other.safetensors",
        "fusion_config": {"patch_embeddings": True},
        "dtype": "float16",
        "output_attentions": True,
        "use_kernels": True,
        "surprise": 1,
    }

    def connect(*_: Any) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("socket.socket.connect", connect)
    loaded = mmbd.load(changed(vit, tmp_path, **hostile))
    assert loaded.classifier.model.network.config._attn_implementation in ("sdpa", "eager")
    assert loaded.classifier.model.network.dtype == torch.float32
    inputs = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.classifier(inputs), mmbd.load(vit).classifier(inputs))
    assert any("does not have: surprise" in note for note in loaded.notes)


def test_the_library_is_as_loud_as_before(vit: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    mmbd.load(vit)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_with_an_architecture_of_the_users_only_the_weights_are_read(vit: Path) -> None:
    with pytest.raises(Failed, match="the weights do not fit the architecture resnet8"):
        mmbd.load(vit, arch="resnet8", input_shape=(3, 16, 16))
