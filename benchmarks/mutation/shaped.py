"""Mutations that know a container, zip, safetensors, protocol buffers or pickles, and leave it whole."""

from __future__ import annotations

import io
import pickletools
import random
import struct
import warnings
import zipfile

from benchmarks.hostile.valid import packed
from benchmarks.mutation.plain import LONG_NUMBERS, MOST, ODD_NUMBERS, bytes_changed, json_changed

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NAMES = ("", "/", "../x", "data.pkl", "archive/data.pkl", "code/x.py", "config.json", "a\x00b", "\u202e.pkl")
OPERATIONS = [bytes([code.code.encode("latin-1")[0]]) for code in pickletools.opcodes]
PIECES = (
    b"cos\nsystem\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cbuiltins\ngetattr\n",
    b"\x8c\x02os\x8c\x06system\x93",
    b"K\xff",
    b"\x8a\x09" + b"\xff" * 8 + b"\x00",
    b"J\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f",
    b"h\x00",
    b"}",
    b"(",
    b"tR",
    b"Q",
)


def zip_changed(data: bytes, source: random.Random, depth: int = 0) -> bytes:
    """A zip with one of its members changed, left out, doubled or renamed; or with its bytes changed."""
    if source.random() < 0.25:
        return _directory_changed(data, source)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            held = [(info.filename, archive.read(info), info.compress_type) for info in infos]
    except Exception:  # a mutant of a mutant
        return bytes_changed(data, source)
    if not held:
        return bytes_changed(data, source)
    at = source.randrange(len(held))
    name, content, method = held[at]
    match source.randrange(10):
        case 0:
            del held[at]
        case 1:
            held.append((name, content, method))
        case 2:
            held[at] = (source.choice((*NAMES, name.upper(), f"{name}x")), content, method)
        case 3:
            held[at] = (name, content, source.choice(METHODS))
        case 4:
            source.shuffle(held)
        case _:
            # The small ones say what the others are.
            smaller = sorted(range(len(held)), key=lambda each: len(held[each][1]))
            at = at if source.random() < 0.5 else source.choice(smaller[-4:])
            name, content, method = held[at]
            held[at] = (name, changed(content, source, depth + 1), method)
    return _written(held)[:MOST]


def _written(held: list[tuple[str, bytes, int]]) -> bytes:
    names = [name for name, _, _ in held]
    if len(set(names)) == len(names) and len({method for _, _, method in held}) == 1:
        return packed({name: content for name, content, _ in held}, held[0][2])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        for name, data, method in held:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, data)
    return content.getvalue()


def _directory_changed(data: bytes, source: random.Random) -> bytes:
    """A number changed in a header or in the directory."""
    sign = source.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"))
    places = [at for at in range(len(data) - 4) if data[at : at + 4] == sign] or [0]
    held, at = bytearray(data), source.choice(places) + source.randrange(4, 46)
    width = source.choice((2, 4))
    value = source.choice((*ODD_NUMBERS, len(data))) % (1 << (8 * width))
    held[at : at + width] = value.to_bytes(width, "little")
    return bytes(held)


def tensor_file_changed(data: bytes, source: random.Random) -> bytes:
    """Safetensors whose header is changed and of the length that it says; or the bytes."""
    if source.random() < 0.3 or len(data) < 10:
        return bytes_changed(data, source)
    (size,) = struct.unpack("<Q", data[:8])
    header = json_changed(data[8 : 8 + size], source)
    header += b" " * (-len(header) % 8) if source.random() < 0.8 else b""
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def protobuf_changed(data: bytes, source: random.Random, depth: int = 0) -> bytes:
    """A message with one of its fields changed, lengths put right; nested ones are gone into."""
    fields = _fields(data)
    if not fields or source.random() < 0.1:
        return bytes_changed(data, source)
    at = source.randrange(len(fields))
    key, kind, value = fields[at]
    match source.randrange(8):
        case 0:
            del fields[at]
        case 1:
            fields.insert(source.randrange(len(fields) + 1), fields[at])
        case 2:
            fields[at] = (source.randrange(1, 40), kind, value)
        case 3:
            other = fields[source.randrange(len(fields))]
            fields[at] = (key, other[1], other[2])
        case _ if kind == 2 and depth < 12 and isinstance(value, bytes):
            inner = protobuf_changed if _fields(value) and source.random() < 0.9 else None
            new = inner(value, source, depth + 1) if inner else bytes_changed(value, source)
            fields[at] = (key, kind, new)
        case _ if kind == 0:
            fields[at] = (key, kind, source.choice((*ODD_NUMBERS, *LONG_NUMBERS)) % (1 << 64))
        case _:
            fields[at] = (key, kind, bytes_changed(bytes(value), source) if isinstance(value, bytes) else 1)
    return b"".join(_field(*each) for each in fields)[:MOST]


Field = tuple[int, int, int | bytes]


def _fields(data: bytes) -> list[Field]:
    """The fields of a message (number, wire type, value); [] for what is none."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, value, size = tag & 7, 0, 0
        if at < 0 or tag >> 3 == 0 or tag >> 3 > 10_000:
            return []
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            return []
        if at < 0 or at + size > len(data):
            return []
        found.append((tag >> 3, kind, value if kind == 0 else data[at : at + size]))
        at += size
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= at < len(data):
            return 0, -1
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    return 0, -1


def _field(key: int, kind: int, value: int | bytes) -> bytes:
    start = _number(key << 3 | kind)
    if isinstance(value, int):
        return start + _number(value)
    return start + (_number(len(value)) if kind == 2 else b"") + value


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def pickle_changed(data: bytes, source: random.Random) -> bytes:
    """A pickle with one of its operations left out, doubled, moved, replaced, or one more put in."""
    try:
        starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:
        return bytes_changed(data, source)
    if len(starts) < 3 or source.random() < 0.15:
        return bytes_changed(data, source)
    rest = data[starts[-1] + 1 :]
    ends = [*starts[1:], starts[-1] + 1]
    parts = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    at = source.randrange(len(parts))
    match source.randrange(5):
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[at])
        case 2:
            other = source.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = source.choice(OPERATIONS) + parts[at][1:]
        case _:
            parts.insert(at, source.choice(PIECES))
    return b"".join(parts) + rest


def changed(data: bytes, source: random.Random, depth: int = 0) -> bytes:
    """One change as the content allows it."""
    if source.random() < 0.2:
        return bytes_changed(data, source)
    if data.startswith(b"PK\x03\x04") and depth < 3:
        return zip_changed(data, source, depth)
    if data.lstrip()[:1] in (b"{", b"["):
        return json_changed(data, source)
    if data.startswith(b"\x80"):
        return pickle_changed(data, source)
    if data[8:9] == b"{":
        return tensor_file_changed(data, source)
    if data[:1] == b"\x08" and _fields(data):
        return protobuf_changed(data, source)
    return bytes_changed(data, source)
