"""The two kinds of files of Keras, read: what their bytes say, as plain data and tensors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text
from mmbd.formats import archives, refusals
from mmbd.formats.advice import KERAS_AGAIN, broken, excessive
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.format import Contents
from mmbd.formats.keras import config
from mmbd.formats.keras.hdf5 import MAGIC, Hdf5
from mmbd.formats.keras.layers.table import LAYERS, OPERATIONS
from mmbd.formats.keras.survey import refuse_unknown
from mmbd.formats.options import MAX_BYTES

DESCRIPTION, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS = (METADATA, DESCRIPTION, WEIGHTS)
PART = 1 << 20  # bytes that are unpacked at a time
UNPACKED = 64  # times as large may a member be unpacked
LAYERS_AT = ("layers", "_layer_checkpoint_dependencies", "_layers", "_self_tracked_trackables")
OTHER_WEIGHTS = "its weights lie in {}: save it again with Keras, with all weights in model.weights.h5"


def is_archive(head: bytes) -> bool:
    """A zip archive that starts with two of the members that Keras writes."""
    place, found = 0, 0
    while found < 2 and head[place : place + 4] == b"PK\x03\x04":
        length = int.from_bytes(head[place + 26 : place + 28], "little")
        if head[place + 30 : place + 30 + length] not in (name.encode() for name in MEMBERS):
            return False
        found += 1
        place = head.find(b"PK\x03\x04", place + 30 + length)
    return found == 2


def is_hdf5(head: bytes) -> bool:
    """An HDF5 file, whatever is in it."""
    return head.startswith(MAGIC)


def read_archive(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """A `.keras` file: the description and the arrays of one model."""
    data = bytes(data)
    infos = archives.members(data)
    names = [info.filename for info in infos]
    if len(set(map(str.lower, names))) != len(names):
        raise Refused(f"Keras does not write an archive with two members of one name: {KERAS_AGAIN}")
    for info in infos:
        name, said = info.filename, clean_text(info.filename)
        if name not in MEMBERS and not name.startswith("assets/"):
            if name.startswith("model.weights"):
                raise Refused(f"the Keras archive was not read: {OTHER_WEIGHTS.format(said)}")
            raise Refused(f"Keras does not write an archive with a member named {said}: {KERAS_AGAIN}")
        if ".." in name.split("/") or "\\" in info.orig_filename or "\0" in info.orig_filename:
            raise Refused(f"the Keras archive has a member with a path that leads out, {said}: {KERAS_AGAIN}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {info.filename: info for info in infos}
        for name in (DESCRIPTION, WEIGHTS):
            if name not in held:
                raise broken(f"the Keras archive has no {name}")
        described = _described(_member(archive, held[DESCRIPTION], config.MOST_TEXT))
        version = "?"
        if METADATA in held:
            version = _version(config.parse(_member(archive, held[METADATA], 1 << 20)))
        arrays = _member(archive, held[WEIGHTS], MAX_BYTES)
    with closing(Hdf5(arrays)) as file:
        value: dict[str, Any] = {"config": described, "layout": "paths", **_paths(file)}
    return Contents(value, f"Keras archive (Keras {version})", None)


def read_hdf5(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """An `.h5` file of Keras: a whole model, or weights alone."""
    with closing(Hdf5(bytes(data))) as file:
        value, what = _in_hdf5(file)
    return Contents(value, what, None)


def _in_hdf5(file: Hdf5) -> tuple[dict[str, Any], str]:
    """What a file holds, and what it is."""
    about = file.attributes()
    said = about.get("model_config")
    if isinstance(said, str):
        described = _described(said)
        if not file.has("model_weights"):
            raise broken("the HDF5 file describes a model and has no model_weights")
        value: dict[str, Any] = {"config": described, "layout": "lists", **_lists(file, "model_weights")}
        return value, f"Keras HDF5 (Keras {_version(about)})"
    if _names(about, "layer_names") is not None:
        value = {"config": None, "layout": "lists", **_lists(file, "/")}
        return value, f"Keras weights in HDF5 (Keras {_version(about)})"
    if any(file.has(name) for name in LAYERS_AT):
        return {"config": None, "layout": "paths", **_paths(file)}, "Keras weights in HDF5"
    raise refusals.refusal(refusals.HDF5)


def _described(text: bytes | bytearray | str) -> dict[str, Any]:
    """The description of a model in which everything is known."""
    described = config.parse(text)
    refuse_unknown(described, LAYERS.keys(), OPERATIONS.keys())
    return {key: described[key] for key in ("class_name", "config") if key in described}


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytearray:
    """All bytes of a member, which may be deflated, within a limit."""
    said = clean_text(info.filename)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 0x2041:
        raise Refused(f"{said} in the Keras archive is encrypted, or packed as Keras does not: {KERAS_AGAIN}")
    if info.file_size > most or info.file_size > UNPACKED * info.compress_size + (1 << 20):
        raise excessive(f"{said} in the Keras archive would have {info.file_size:,} bytes")
    try:
        with archive.open(info) as member:
            data = bytearray(info.file_size)
            filled = 0
            while filled < len(data) and (part := member.read(min(PART, len(data) - filled))):
                data[filled : filled + len(part)] = part
                filled += len(part)
            if member.read(1) or filled != len(data):
                raise broken(f"{said} in the Keras archive has not the size that it claims")
    except (Failed, MemoryError):
        raise
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        raise broken(f"{said} in the Keras archive cannot be read ({clean_text(str(error))})") from None
    return data


def _paths(file: Hdf5) -> dict[str, Any]:
    """The arrays of Keras 3's layout by the path below the model, such as `conv2d/vars/0`."""
    here = next((name for name in LAYERS_AT if file.has(name)), None)
    arrays = {} if here is None else file.arrays(here)
    return {"arrays": {name.replace("\\", "/"): array for name, array in arrays.items()}, "order": {}}


def _lists(file: Hdf5, at: str) -> dict[str, Any]:
    """The arrays of the older layout by layer, and in which order each layer has them."""
    layers = _names(file.attributes(at), "layer_names")
    if layers is None:
        raise broken("the HDF5 file does not say which layers it has weights of")
    prefix = "" if at == "/" else f"{at}/"
    order: dict[str, list[str]] = {}
    for layer in layers:
        if not file.has(f"{prefix}{layer}"):
            raise broken(f"the HDF5 file has no weights of its layer {clean_text(layer)!r}")
        names = _names(file.attributes(f"{prefix}{layer}"), "weight_names") or []
        order[layer] = [f"{layer}/{name}" for name in names]
    arrays = file.arrays(at)
    listed = {name for names in order.values() for name in names}
    if missing := sorted(listed - arrays.keys()):
        raise broken(f"the HDF5 file lists weights that it does not have: {clean_text(missing[0])}")
    return {"arrays": {name: arrays[name] for name in sorted(listed)}, "order": order}


def _names(about: Mapping[str, Any], key: str) -> list[str] | None:
    """A list of names, which Keras splits into several attributes where it is long."""
    value = about.get(key)
    if value is None and f"{key}0" in about:
        value = []
        for number in range(len(about)):
            part = about.get(f"{key}{number}", [])
            value += part if isinstance(part, list) else []
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise broken(f"the HDF5 file's {key} are no names")
    return value


def _version(about: Mapping[str, Any]) -> str:
    return clean_text(about.get("keras_version", "?"), 20)
