"""The tensors of a report in a safetensors file beside its JSON, so that it can be drawn again.

The JSON names the file and its digest. Where the file is gone or another one, as where a process was
killed between the two, the report is read without its pictures: those of another are never shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.base.writing import whole
from mmbd.results.finding import Artifact

SUFFIX = ".artifacts.safetensors"
MOST_BYTES = 1 << 30


def write(report: Path, artifacts: Sequence[Artifact]) -> dict[str, Any] | None:
    """Write the artifacts of the report that will be at `report`; what its JSON says of them.

    The file is NAME.artifacts.safetensors for NAME.json. None, and no file, without artifacts that
    can be drawn: tensors with NaN or infinity are left out.
    """
    artifacts = [artifact for artifact in artifacts if bool(artifact.tensor.isfinite().all())]
    if not artifacts:
        return None
    place = report.with_name(report.stem + SUFFIX)
    data, said = packed(artifacts, place.name)
    with whole(place, force=True) as file:
        file.write(data)
    return said


def packed(artifacts: Sequence[Artifact], name: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file `name` with the artifacts as floats, and what a report's JSON says of it."""
    from safetensors.torch import save

    names = [f"artifact.{number}" for number in range(len(artifacts))]
    data = save(
        {
            name: artifact.tensor.detach().cpu().float().clone().contiguous()
            for name, artifact in zip(names, artifacts, strict=True)
        }
    )
    return data, {
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "entries": [
            {"name": name, "kind": artifact.kind, "label": artifact.label}
            for name, artifact in zip(names, artifacts, strict=True)
        ],
    }


def read(report: Path, said: Mapping[str, Any]) -> list[Artifact]:
    """The artifacts beside the report at `report`; none where their file is gone or another one.

    Args:
        report: where the report's JSON lies.
        said: what that says of them.

    Raises:
        Failed: no name of a file beside it, or not the tensors that the report names.
    """
    name = said["file"]
    if name != Path(name).name or not name.endswith(SUFFIX):
        raise Failed(f"{reading.named(report)}: {clean_text(name)!r} is no name of a file beside it")
    place = report.with_name(name)
    return _read(place, said) if place.exists() else []


def _read(place: Path, said: Mapping[str, Any]) -> list[Artifact]:
    from mmbd.formats import tensor_file

    with reading.opened(place, MOST_BYTES) as file:
        data = bytearray(file.read(MOST_BYTES))
    if hashlib.sha256(data).hexdigest() != said["sha256"]:
        return []
    try:
        tensors = tensor_file.tensors(data, tensor_file.read_header(data, len(data)))
        found = [Artifact(entry["kind"], entry["label"], tensors[entry["name"]]) for entry in said["entries"]]
    except KeyError as error:
        raise Failed(f"{reading.named(place)}: there is no tensor {clean_text(error)}") from error
    except Failed as error:
        raise Failed(f"{reading.named(place)}: {error}") from error
    for artifact in found:
        if not artifact.tensor.dtype.is_floating_point or not bool(artifact.tensor.isfinite().all()):
            raise Failed(f"{reading.named(place)}: a {clean_text(artifact.kind)} holds no finite numbers")
    return found
