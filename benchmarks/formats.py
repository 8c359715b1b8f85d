"""Whether a network answers alike through every format that describes it: answers, gradients, time, memory.

    python -m benchmarks.formats FOLDER [--forms pt2,onnx] [--models resnet8,vit] [--out FILE.json]

Every network of `format_networks` is written in every form into FOLDER, which is kept, so that what is there
is not made again (--write does only that). Each file is read by `mmbd.load` and compared with the network
itself on three random inputs: the largest difference of answers over the largest answer, the same of
gradients (`exact gradients`: in double precision, where no rounding decides which of two almost equal
elements a maximum takes), of three inputs together and one by one, of onnxruntime's answers, and of a
directional derivative against finite differences (in double precision where the graph allows). `overhead` is
the processor time of a forward and a backward pass of 16 inputs over the network's own, the best of turns.
`memory` is what reading adds to a process's peak over the file's size, for files of 16 MB or more.
With --verdicts the bundled models are scanned through every form, too.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
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
from benchmarks.format_networks import CLASSES, NETWORKS, network, shape_of

EXAMPLES = Path(__file__).parent.parent / "examples" / "models"
TURNS, BATCH, LARGE = 10, 16, 16 << 20


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


def written(
    folder: Path, name: str, form: str, module: Callable[[], nn.Module], shape: tuple[int, ...]
) -> Path:
    """The file of a network in one form; made where it is not there."""
    suffix, write = FORMS[form]
    path = folder / f"{name}-{form.replace(' ', '-')}{suffix}"
    if not path.exists():
        partial = path.with_name(f"partial-{path.name}")
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            write(module(), shape, partial)
        partial.rename(path)
    return path


def differences(mine: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> dict[str, float]:
    """Relative differences of answers and gradients, and of a derivative from finite differences."""
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(CLASSES, generator=torch.Generator().manual_seed(2))

    def value(module: nn.Module, at: Tensor) -> tuple[Tensor, Tensor]:
        answers = module(at)
        return answers, (answers @ weight.to(at)).sum()

    (own, own_sum), (other, other_sum) = value(mine, inputs), value(theirs, inputs)
    own_slope, other_slope = (torch.autograd.grad(one, inputs)[0] for one in (own_sum, other_sum))
    own, other = own.detach(), other.detach()
    with torch.no_grad():
        single = torch.cat([mine(row) for row in inputs.split(1)])
    return {
        "answers": float((own - other).abs().max() / other.abs().max()),
        "gradients": float((own_slope - other_slope).abs().max() / other_slope.abs().max()),
        "exact gradients": exact(mine, theirs, value, inputs.detach()),
        "one by one": float((own - single).abs().max() / other.abs().max()),
        "finite differences": slope_error(mine, value, inputs.detach()),
    }


Value = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]


def exact(mine: nn.Module, theirs: nn.Module, value: Value, inputs: Tensor) -> float:
    """The relative difference of gradients in double precision; NaN for a graph that cannot be run so."""
    found: list[Tensor] = []
    for module in (mine, theirs):
        at = inputs.double().requires_grad_()
        try:
            found += torch.autograd.grad(value(copy.deepcopy(module).double(), at)[1], at)
        except Exception:  # of any kind
            return float("nan")
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def slope_error(module: nn.Module, value: Value, inputs: Tensor) -> float:
    """The relative error of a directional derivative, in double precision if the graph can be run so."""
    for kind, step in ((torch.float64, 1e-6), (torch.float32, 1e-3)):
        try:
            converted = copy.deepcopy(module).to(kind)
            at = inputs.to(kind).requires_grad_()
            slope = torch.autograd.grad(value(converted, at)[1], at)[0]
            with torch.no_grad():
                up, down = (value(converted, at + sign * step * slope.sign())[1] for sign in (1, -1))
        except Exception:  # a graph that converts its numbers itself
            continue
        along = float((slope * slope.sign()).sum())
        return abs(float(up - down) / (2 * step) - along) / max(abs(along), 1e-12)
    return float("nan")


def by_onnxruntime(path: Path, mine: nn.Module, shape: tuple[int, ...]) -> float | None:
    """The largest difference of onnxruntime's answers, over the largest; None for other files."""
    if path.suffix != ".onnx":
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(3))
    if (given := session.get_inputs()[0]).shape[0] == 1:
        theirs = [session.run(None, {given.name: row.numpy()})[0] for row in inputs.split(1)]
        other = torch.cat([torch.from_numpy(each) for each in theirs])
    else:
        other = torch.from_numpy(session.run(None, {given.name: inputs.numpy()})[0])
    with torch.no_grad():
        return float((mine(inputs) - other).abs().max() / other.abs().max())


def seconds(module: nn.Module, inputs: Tensor) -> float:
    """Processor time of one forward and backward pass."""
    start = time.process_time()
    torch.autograd.grad(module(inputs).sum(), inputs)
    return time.process_time() - start


def overhead(mine: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> float:
    """The best time of one over the best of the other, in turns."""
    inputs = torch.rand(BATCH, *shape, requires_grad=True)
    for module in (mine, theirs):  # a search takes gradients of inputs alone
        module.requires_grad_(False)
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
    before = _highest()
    mmbd.load(path)
    after = _highest()
    print((after - before) * 1024 / Path(path).stat().st_size)


def _highest() -> int:
    """The most memory that this process has held, in kB; of its own, not of what started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def made(folder: Path, name: str, form: str) -> dict[str, Any]:
    """A row that says which file holds a network in one form, or why none does."""
    row: dict[str, Any] = {"model": name, "form": form}
    try:
        return {**row, "file": written(folder, name, form, lambda: network(name), shape_of(name)).name}
    except Exception as error:  # the exporter's affair
        return {**row, "not written": f"{type(error).__name__}: {str(error)[:200]}"}


def compared(folder: Path, name: str, form: str) -> dict[str, Any]:
    """One network in one form; `error` says what did not work, and where."""
    row = made(folder, name, form)
    if "not written" in row:
        return row
    path = folder / row["file"]
    module, shape = network(name), shape_of(name)
    try:
        start = time.perf_counter()
        loaded = mmbd.load(path, input_shape=shape)
        mine: Any = loaded.classifier.model
        row |= {"seconds to load": time.perf_counter() - start, "bytes": path.stat().st_size}
        row |= {"notes": loaded.notes, "doubts": loaded.doubts}
        row |= differences(mine, module, shape)
        row |= {"onnxruntime": by_onnxruntime(path, mine, shape)}
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
        path = written(folder, file.stem, form, lambda model=clf.model: model, clf.domain.shape)
        options: dict[str, Any] = {"mean": clf.mean, "std": clf.std, "class_names": clf.class_names}
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--models", default=",".join(NETWORKS))
    parser.add_argument("--verdicts", action="store_true")
    parser.add_argument("--write", action="store_true", help="write what is not there, and end")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)
    rows, scans = [], []
    for form in arguments.forms.split(","):
        for name in arguments.models.split(","):
            if arguments.write:
                print(json.dumps(made(arguments.folder, name, form)), flush=True)
                continue
            rows.append(compared(arguments.folder, name, form))
            print(json.dumps(rows[-1]), flush=True)
        if arguments.verdicts:
            scans += verdicts(arguments.folder, form)
            print(json.dumps(scans[-1]), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({"networks": rows, "scans": scans}, indent=1) + "\n")


if __name__ == "__main__":
    main()
