"""Zip archives: what one is, and whether it is exactly what `torch.save` writes.

torch reads zips with another library than Python's. Two readers may see two different files in one
odd archive; so a checkpoint passes only in the plain layout that every reader sees alike:
members stored and not compressed, no duplicates, no gaps in trust.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text
from mmbd.formats import refusals
from mmbd.formats.advice import broken, excessive
from mmbd.formats.pickles.opcodes import MAX_BYTES

MAX_MEMBERS = 200_000

BIG_ENDIAN = (
    "the checkpoint was written on a big-endian machine: save it again on a little-endian one, or "
    "as safetensors"
)

# All that torch.save puts into an archive, below its one folder.
MEMBERS = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
    r"|data/(?P<key>[0-9A-Za-z]+)"
)


@dataclass(frozen=True)
class Archive:
    """A checkpoint's pickle, and by key where the bytes of each storage start and end."""

    pickle: bytes
    spans: Mapping[str, tuple[int, int]]

    @property
    def sizes(self) -> dict[str, int]:
        return {key: end - start for key, (start, end) in self.spans.items()}


def members(data: bytes) -> list[zipfile.ZipInfo]:
    """The members of a zip archive, in the order of its directory.

    Raises:
        Failed: no directory (cut short), a broken one, or absurdly many members.
    """
    # Every entry of a directory starts with this signature: an upper bound before reading it.
    if data.count(b"PK\x01\x02") > MAX_MEMBERS:
        raise excessive(f"the zip archive has more than {MAX_MEMBERS:,} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.infolist()
    except Exception:  # hostile bytes in somebody else's parser: anything may come
        raise broken("the zip archive has no directory, or a broken one: it was cut short?") from None


def foreign(infos: list[zipfile.ZipInfo]) -> str | None:
    """What an archive is that is not a checkpoint; None for a torch checkpoint."""
    names = {info.filename for info in infos}
    inner = {name.partition("/")[2] for name in names}
    ends = {name.rpartition("/")[2] for name in names}
    if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
        return refusals.TORCHSCRIPT
    if any(name.startswith(".data/extern_modules") for name in inner | names):
        return refusals.PACKAGE
    if "archive_format" in ends or any(end.endswith("exported_program.json") for end in ends):
        return refusals.EXPORTED
    if {"config.json", "metadata.json"} <= names or "model.weights.h5" in ends:
        return refusals.KERAS_ARCHIVE
    if "MAR-INF/MANIFEST.json" in names:
        return refusals.TORCHSERVE
    if names and all(name.endswith(".npy") for name in names):
        return refusals.NUMPY_ARCHIVE
    if "data.pkl" not in inner:
        return f"{refusals.NO_CHECKPOINT} ({clean_text(min(names, default=''))})"
    return None


def pickled(data: bytes, infos: list[zipfile.ZipInfo]) -> Iterator[bytes]:
    """The beginnings of members that may be pickles, within bounds: to list what they name."""
    left = MAX_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in infos[:1000]:
            if left > 0 and (content := _if_pickle(archive, info, left)):
                left -= len(content)
                yield content


def _if_pickle(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""  # other methods may ask for gigabytes to unpack
    try:
        with archive.open(info) as member:
            head = member.read(2)
            named = info.filename.endswith((".pkl", ".pickle"))
            return head + member.read(most) if named or head[:1] == b"\x80" else b""
    except Exception:  # encrypted or damaged; it only informs a refusal
        return b""


def checkpoint(data: bytes, infos: list[zipfile.ZipInfo]) -> Archive:
    """Take a torch checkpoint apart, if it is laid out exactly as torch lays it out.

    Raises:
        Refused: a layout that torch.save does not write.
        Failed: damage.
    """
    prefix = infos[0].filename.partition("/")[0] + "/"
    stored: dict[str, tuple[int, int]] = {}
    pickle: bytes | None = None
    for name, (start, end) in spans(data, infos).items():
        inside = MEMBERS.fullmatch(name.removeprefix(prefix))
        if not name.startswith(prefix) or inside is None:
            raise _odd(f"a member named {clean_text(name)}")
        if inside["key"] is not None:
            stored[inside["key"]] = start, end
        elif inside[0] == "data.pkl":
            if end - start > MAX_BYTES:
                raise excessive(f"data.pkl has {end - start:,} bytes, the limit is {MAX_BYTES:,}")
            pickle = data[start:end]
    if pickle is None:
        raise _odd("no data.pkl beside its other members")
    return Archive(pickle, stored)


def spans(data: bytes, infos: list[zipfile.ZipInfo]) -> dict[str, tuple[int, int]]:
    """Where each member's bytes start and end, by name, in an archive that every reader sees alike.

    All are stored and not compressed, lie apart, have one name each in both of their headers, and the
    checksums that they have.

    Raises:
        Refused: another layout than torch's.
        Failed: damage, or an order of bytes that is not little-endian.
    """
    _plain_end(data, infos)
    found: dict[str, tuple[int, int]] = {}
    seen: set[str] = set()
    taken: list[tuple[int, int]] = []
    for info in infos:
        name = info.orig_filename
        if not name.isprintable():
            raise _odd(f"a member named {clean_text(name)}")
        if name.lower() in seen:  # torch looks names up without regard to case
            raise _odd(f"two members named {clean_text(name)}")
        seen.add(name.lower())
        start, end = found[name] = _span(data, info)
        taken.append((info.header_offset, end))
        # torch writes zeros when told to leave checksums out, and never compares them itself.
        if info.CRC and zlib.crc32(memoryview(data)[start:end]) != info.CRC:
            raise broken(f"the checksum of {clean_text(name)} is wrong: the file is damaged")
        if name.endswith("/byteorder") and data[start:end] != b"little":
            if data[start:end] == b"big":
                raise Failed(BIG_ENDIAN)
            raise broken("the checkpoint has an order of bytes that is none")
    taken.sort()
    if any(end > following for (_, end), (following, _) in itertools.pairwise(taken)):
        raise _odd("members that overlap")
    return found


def _odd(what: str) -> Refused:
    return Refused(f"torch.save does not write {what}")


def _plain_end(data: bytes, infos: list[zipfile.ZipInfo]) -> None:
    """Require a directory that ends where the end record says, without comment or prefix."""
    end = len(data) - 22
    if end < 0 or data[end : end + 4] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        raise _odd("a zip archive with a comment or with bytes after its end")
    disk, disk_directory, _, entries, size, offset = struct.unpack("<HHHHLL", data[end + 4 : -2])
    locator, record = end - 20, end - 76
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        where = struct.unpack("<Q", data[locator + 8 : locator + 16])[0]
        if record < 0 or where != record or data[record : record + 4] != b"PK\x06\x06":
            raise _odd("an archive with its end record in another place")
        entries, size, offset = struct.unpack("<QQQ", data[record + 32 : record + 56])
        end = record
    if disk or disk_directory or entries != len(infos) or offset + size != end or not infos:
        raise _odd("an archive with bytes before its start, or with a false count of members")


def _span(data: bytes, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a member's content starts and ends, checked against its local header."""
    if info.compress_type != 0 or info.flag_bits & 0x2061 or info.file_size != info.compress_size:
        raise _odd("compressed or encrypted members")
    if len(data) < 1 << 32 and info.extra:  # there the readers could find other sizes
        raise _odd("extra fields in the directory of a small archive")
    header = data[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise broken("the zip archive is damaged: a member has no header")
    method, name_length, extra_length = struct.unpack("<H16xHH", header[8:])
    start = info.header_offset + 30 + name_length + extra_length
    name = data[info.header_offset + 30 : info.header_offset + 30 + name_length]
    if method != 0 or name.decode("utf-8", "replace") != info.orig_filename:
        raise _odd("members whose two headers differ")
    if start + info.file_size > len(data):
        raise broken("the zip archive is cut short: a member reaches beyond its end")
    return start, start + info.file_size
