"""Networks that timm and torchvision have by name: written as safetensors, read by `--arch`, compared.

    python -m benchmarks.library_names [--names timm:resnet10t,torchvision:resnet18] [--out FILE.json]

Random weights and seven classes, so that their number is read off the weights; inputs of the size and the
normalisation that the library has. A row has the largest difference of answers over the largest answer.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.formats.networks.libraries import timm, torchvision

TIMM = """
resnet10t resnet14t mobilenetv3_small_050 mobilenetv2_035 mnasnet_small lcnet_035 tf_efficientnet_lite0
ghostnet_050 hardcorenas_a regnetx_002 regnety_002 rexnet_100 semnasnet_050 spnasnet_100 tinynet_e
fbnetc_100 convnext_atto convnextv2_atto edgenext_xx_small mobilevit_xxs mobileone_s0 repghostnet_050
vit_tiny_patch16_224 deit_tiny_patch16_224 levit_128s poolformerv2_s12 resmlp_12_224 mixer_s32_224
test_vit test_efficientnet
"""
TORCHVISION = """
alexnet squeezenet1_0 squeezenet1_1 resnet18 resnet34 resnet50 resnext50_32x4d wide_resnet50_2 mobilenet_v2
mobilenet_v3_small mobilenet_v3_large mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 shufflenet_v2_x0_5
shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 densenet121 googlenet efficientnet_b0 efficientnet_b1
regnet_x_400mf regnet_y_400mf regnet_x_800mf convnext_tiny swin_t vit_b_32 vgg11
"""
CLASSES = 7


def network(name: str) -> nn.Module:
    """The library's network of this name with random weights."""
    torch.manual_seed(0)
    where, _, kind = name.partition(":")
    if where == "timm":
        return timm().create_model(kind, pretrained=False, num_classes=CLASSES).eval()
    more = {"init_weights": False} if kind == "googlenet" else {}
    return torchvision().models.get_model(kind, weights=None, num_classes=CLASSES, **more).eval()


def compared(name: str) -> dict[str, Any]:
    """A row; `error` says what did not work."""
    try:
        module = network(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            save_file({key: value.clone() for key, value in module.state_dict().items()}, path)
            loaded = mmbd.load(path, arch=name)
        shape = loaded.classifier.domain.shape
        inputs = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
        clf = loaded.classifier
        with torch.no_grad():
            mine = clf(inputs)
            mean, std = (torch.tensor(each).reshape(-1, 1, 1) for each in (clf.mean or 0.0, clf.std or 1.0))
            theirs = module((inputs - mean) / std)
        away = float((mine - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))
        return {"name": name, "shape": list(shape), "classes": mine.shape[1], "answers": away}
    except Exception as error:
        return {"name": name, "error": f"{type(error).__name__}: {str(error)[:300]}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    both = [
        *(f"timm:{each}" for each in TIMM.split()),
        *(f"torchvision:{each}" for each in TORCHVISION.split()),
    ]
    parser.add_argument("--names", default=",".join(both))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows: list[dict[str, Any]] = []
    for name in arguments.names.split(","):
        rows.append(compared(name))
        print(json.dumps(rows[-1]), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
