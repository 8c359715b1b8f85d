"""Whether a network answers alike through every format that describes it: answers, gradients, time, memory.

    python -m benchmarks.formats FOLDER [--forms pt2,onnx] [--models resnet8,vit] [--out FILE.json]

Every built-in network with seeded random weights (its normalisation layers have seen random inputs) is
written in every form into FOLDER, which is kept, so that what is there is not made again. Each file is read
by `mmbd.load` and compared with the network itself on three random inputs: the largest difference of
answers over the largest answer, the same of gradients, and of directional derivatives against finite
differences. `overhead` is a forward and a backward pass of 16 inputs over the network's own, the best of
turns. `memory` is what reading adds to a process's peak over the file's size, for files of 4 MB or more, in
a process of its own. With --verdicts the bundled models are scanned through every form, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mmbd
from mmbd import nets

SHAPES = {
    "lenet": (1, 28, 28),
    "m5": (1, 8000),
    "dgcnn": (3, 128),
    "pointnet": (3, 128),
    "resnet18_imagenet": (3, 64, 64),
    "resnet34_imagenet": (3, 64, 64),
}
USUAL = (3, 32, 32)
EXAMPLES = Path(__file__).parent.parent / "examples" / "models"
TURNS, BATCH, CLASSES, LARGE = 15, 16, 10, 4 << 20


def network(name: str) -> nn.Module:
    """A built-in network whose normalisation layers have statistics of their own."""
    torch.manual_seed(0)
    made = nets.build(name, classes=CLASSES, input_shape=SHAPES.get(name, USUAL))
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(8, *SHAPES.get(name, USUAL)))
    return made.eval()


def pt2(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (torch.rand(2, *shape),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def pt2_of_one(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    program = torch.export.export(module, (torch.rand(1, *shape),)).run_decompositions()
    torch.export.save(program, path)


def onnx(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    torch.onnx.export(
        module,
        (torch.rand(2, *shape),),
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", min=2)},),
        external_data=False,
    )


def onnx_by_tracing(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    torch.onnx.export(
        module,
        (torch.rand(1, *shape),),
        path,
        dynamo=False,
        input_names=["input"],
        dynamic_axes={"input": {0: "batch"}},
        opset_version=17,
    )


FORMS: dict[str, tuple[str, Callable[[nn.Module, tuple[int, ...], Path], None]]] = {
    "pt2": (".pt2", pt2),
    "pt2 of one": (".pt2", pt2_of_one),
    "onnx": (".onnx", onnx),
    "onnx by tracing": (".onnx", onnx_by_tracing),
}


def written(folder: Path, name: str, form: str, module: nn.Module, shape: tuple[int, ...]) -> Path:
    """The file of a network in one form; made where it is not there."""
    suffix, write = FORMS[form]
    path = folder / f"{name}-{form.replace(' ', '-')}{suffix}"
    if not path.exists():
        partial = path.with_name(f"partial-{path.name}")
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            write(module, shape, partial)
        partial.rename(path)
    return path


def differences(mine: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> dict[str, float]:
    """Relative differences of answers and gradients, and of a derivative from finite differences."""
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(CLASSES, generator=torch.Generator().manual_seed(2))

    def value(module: nn.Module, at: Tensor) -> tuple[Tensor, Tensor]:
        answers = module(at)
        return answers, (answers @ weight).sum()

    (own, own_sum), (other, other_sum) = value(mine, inputs), value(theirs, inputs)
    own_slope, other_slope = (torch.autograd.grad(one, inputs)[0] for one in (own_sum, other_sum))
    direction = torch.sign(own_slope)
    step = 1e-3
    own, other = own.detach(), other.detach()
    with torch.no_grad():
        up, down = (value(mine, inputs + sign * step * direction)[1] for sign in (1, -1))
    slope = float((own_slope * direction).sum())
    return {
        "answers": float((own - other).abs().max() / other.abs().max()),
        "gradients": float((own_slope - other_slope).abs().max() / other_slope.abs().max()),
        "finite differences": abs(float(up - down) / (2 * step) - slope) / max(abs(slope), 1e-12),
    }


def seconds(module: nn.Module, inputs: Tensor) -> float:
    """Of one forward and backward pass."""
    start = time.perf_counter()
    torch.autograd.grad(module(inputs).sum(), inputs)
    return time.perf_counter() - start


def overhead(mine: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> float:
    """The best time of one over the best of the other, in turns."""
    inputs = torch.rand(BATCH, *shape, requires_grad=True)
    pairs = [(seconds(mine, inputs), seconds(theirs, inputs)) for _ in range(TURNS + 1)][1:]
    own, other = (min(side) for side in zip(*pairs, strict=True))
    return own / other


def memory(path: Path) -> float | None:
    """Peak memory that reading adds, over the size of the file; None for small ones."""
    if path.stat().st_size < LARGE:
        return None
    code = "import sys; from benchmarks import formats; formats.peak(sys.argv[1])"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(path: str) -> None:
    """Print by how much reading a file raises this process's peak, over the file's size."""
    warm = next(iter(Path(path).parent.glob(f"lenet*{Path(path).suffix}")), None)
    if warm is not None:
        mmbd.load(warm)  # what is imported on the way is not the file's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mmbd.load(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) * 1024 / Path(path).stat().st_size)


def compared(folder: Path, name: str, form: str) -> dict[str, Any]:
    """One network in one form; `error` says what did not work, and where."""
    module, shape = network(name), SHAPES.get(name, USUAL)
    row: dict[str, Any] = {"model": name, "form": form}
    try:
        path = written(folder, name, form, module, shape)
    except Exception as error:  # the exporter's affair
        return {**row, "not written": f"{type(error).__name__}: {str(error)[:200]}"}
    try:
        start = time.perf_counter()
        mine = mmbd.load(path).classifier.model
        row |= {"seconds to load": time.perf_counter() - start, "bytes": path.stat().st_size}
        row |= differences(mine, module, shape)
        row |= {"overhead": overhead(mine, module, shape), "memory": memory(path)}
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row


def verdicts(folder: Path, form: str) -> list[dict[str, Any]]:
    """The bundled models through one form: verdict, targets and p beside the file's own."""
    rows: list[dict[str, Any]] = []
    for file in sorted(EXAMPLES.glob("*.safetensors")):
        loaded = mmbd.load(file)
        clf = loaded.classifier
        assert isinstance(clf.model, nn.Module)
        path = written(folder, file.stem, form, clf.model, clf.domain.shape)
        options = {"mean": clf.mean, "std": clf.std, "class_names": clf.class_names}
        pair = [mmbd.scan(loaded), mmbd.scan(mmbd.load(path, **options))]
        rows.append(
            {
                "model": file.stem,
                "form": form,
                "verdicts": [one.verdict for one in pair],
                "targets": [list(one.targets) for one in pair],
                "p-values": [one.p_value for one in pair],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--models", default=",".join(nets.ARCHITECTURES))
    parser.add_argument("--verdicts", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)
    rows, scans = [], []
    for form in arguments.forms.split(","):
        for name in arguments.models.split(","):
            rows.append(compared(arguments.folder, name, form))
            print(json.dumps(rows[-1]), flush=True)
        if arguments.verdicts:
            scans += verdicts(arguments.folder, form)
            print(json.dumps(scans[-1]), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({"networks": rows, "scans": scans}, indent=1) + "\n")


if __name__ == "__main__":
    main()
