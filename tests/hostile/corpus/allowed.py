"""Pickles of what is on the allow list, used as weights never use it."""

from __future__ import annotations

import pickletools
import struct
import zipfile
from functools import partial

from helpers.handmade_checkpoints import WEIGHT, legacy, packed, storage, tensor, text, whole, zipped
from hostile.corpus.case import EITHER, FAILED, REFUSED, Case, several, written
from hostile.test_beside import HONEST, ODD, beside
from hostile.test_beside import LIES as WIDE_LIES
from hostile.test_fuzz_pickles import ARRAY, F8, STORED, VALUE
from hostile.test_names import BOMBS
from hostile.test_numpy_numbers import ODD_ARRAYS
from hostile.test_numpy_numbers import REFUSED as NUMBERS
from hostile.test_sizes import EXPLOSIONS, LIES
from mmbd.formats.pickles.allowed import CALLS

HUGE = 1 << 63
# What is given to every call that is allowed.
ARGUMENTS = {
    "nothing but a number": b"K\x01",
    "a negative number": b"(" + whole(-1) + b"t",
    "2**63 three times": b"(" + whole(HUGE) * 3 + b"t",
    "a tensor": b"(" + VALUE + b"t",
    "lists in lists": b"(](]](ee" + b"e" + b"t",
    "texts": b"(" + text("os") + text("system") + text("latin1") + b"t",
    "itself": b"(h\x07h\x07h\x07t",
    "seven odd ones": b"(" + VALUE + b"N\x89" + F8 + text("x") + b"}" + whole(HUGE) + b"t",
}
IDS = {
    "a short tuple": b"(" + text("storage") + b"t",
    "no tuple": text("storage"),
    "another word": storage(4).replace(b"storage", b"modules")[:-1],
    "a class that is a text": b"("
    + text("storage")
    + text("FloatStorage")
    + text("0")
    + text("cpu")
    + b"K\x04t",
    "a class that is no storage": storage(4, kind="Tensor")[:-1],
    "a path for a key": storage(4, key="../0")[:-1],
    "an empty key": storage(4, key="")[:-1],
    "a long key": storage(4, key="0" * 500)[:-1],
    "a key beyond ASCII": storage(4, key="٣")[:-1],
    "a long place": storage(4).replace(text("cpu"), text("cuda:" + "0" * 500))[:-1],
    "a negative count": storage(-1)[:-1],
    "2**63 elements": storage(HUGE)[:-1],
    "half an element": storage(4).replace(whole(4), b"G\x3f\xe0\0\0\0\0\0\0")[:-1],
    "one field more": storage(4, last=b"]")[:-1],
    "a number for an id": b"K\x01",
    "a list of itself": b"]q\x05h\x05a",
}
KEYS = {
    "2**63": whole(HUGE),
    "-2**63": whole(-HUGE),
    "not a number": b"G\x7f\xf8\0\0\0\0\0\0",
    "nothing": b"N",
    "a list": b"]",
    "a dictionary": b"}",
    "a tensor": VALUE,
    "a tuple": b"(K\x01Nt",
    "an array": ARRAY,
    "a long text": text("x" * 100_000),
    "escapes": text("\x1b[2J\x07\u202e"),
    "line ends": text("a\r\nFAKE: clean\n"),
    "lone marks": text("a" + "\u0301" * 500),
    "the metadata": text("__metadata__"),
    "an attribute": text("__class__"),
    "a slash": text("/"),
    "dots": text("." * 500),
    "no text": text(""),
    "a type": b"ctorch\nfloat16\n",
    "a thousand digits": whole(10**1000 >> 1300),
}
MEMO = {
    "read before it is written": b"h\x01",
    "written from nothing": b"q\x01N",
    "at 2**32 - 1": b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff",
    "a dictionary in itself": b"}q\x01" + text("a") + b"h\x01s",
    "a mapping changed after use": b"}q\x01(h\x01h\x01t0" + text("a") + VALUE + b"s",
    "a tuple of a tuple, a thousand deep": b")" + b"\x85" * 1000,
    "a list of a list, fifty thousand deep": b"]" * 50_000 + b"a" * 49_999,
    "a mark alone": b"(" * 50_000,
    "more ends than beginnings": b"e" * 3,
    "items of a tensor": VALUE + text("a") + b"Ns",
    "items of a text": text("a") + text("a") + b"Ns",
    "three items": b"}(" + text("a") + b"NNu",
    "an append to a mapping": b"}Na",
    "nothing at the end": b"",
    "a state for a state dict": b"ccollections\nOrderedDict\n)R}" + text("__class__") + b"Nsb",
    "a state for a list": b"]}b",
    "a call of a text": text("torch") + b")R",
    "a call of a tensor": VALUE + b")R",
}


def cases() -> list[Case]:
    kind = "allow list"
    found = several(
        kind, {f"{name} (zip)": zipped(data, **{"0": WEIGHT}) for name, (data, _) in LIES.items()}, FAILED
    )
    found += several(kind, {f"{name} (legacy)": legacy(data) for name, (data, _) in LIES.items()})
    for name, (data, _) in EXPLOSIONS.items():
        found.append(Case(kind, f"{name} (zip)", zipped(data), EITHER, megabytes=200))
        found.append(Case(kind, f"{name} (legacy)", legacy(data), EITHER, megabytes=200))
    found += several(kind, {f"wide, {name}": beside(data) for name, data in WIDE_LIES.items()})
    found += several(kind, {f"odd, {name}": beside(data) for name, data in ODD.items()}, REFUSED)
    found += several(
        kind, {f"honest, {name}": beside(data) for name, data in HONEST.items()}, FAILED, says="--arch"
    )
    found += several(kind, {f"number, {name}": data for name, data in NUMBERS.items()}, REFUSED)
    found += several(kind, {f"array, {name}": data for name, data in ODD_ARRAYS.items()}, REFUSED)
    for call in CALLS:
        module, _, name = call.rpartition(".")
        function = f"c{module}\n{name}\n".encode() + b"q\x07"
        found += several(
            kind,
            {
                f"{call} of {what}": zipped(b"\x80\x02](" + function + given + b"Re.", **STORED)
                for what, given in ARGUMENTS.items()
            },
        )
    found += several(
        kind, {f"id, {name}": zipped(b"\x80\x02" + given + b"Q.", **STORED) for name, given in IDS.items()}
    )
    found += several(
        kind,
        {
            f"key, {name}": zipped(b"\x80\x02}" + given + VALUE + b"s.", **STORED)
            for name, given in KEYS.items()
        },
    )
    found += several(
        kind, {f"memo, {name}": zipped(b"\x80\x02" + given + b".", **STORED) for name, given in MEMO.items()}
    )
    for info in pickletools.opcodes:
        if info.name != "STOP":
            code = info.code.encode("latin-1")
            found.append(Case(kind, f"opcode {info.name}", zipped(b"\x80\x02N" + code + bytes(9) + b"\n.")))
    found += several(
        kind,
        {
            f"protocol {number}": zipped(b"\x80" + bytes([number]) + b"}.")
            for number in (0, 1, 3, 4, 5, 6, 99, 255)
        },
        REFUSED,
    )
    for name, data in BOMBS.items():
        bomb = written(partial(packed, {"archive/data.pkl": data}, zipfile.ZIP_DEFLATED))
        found.append(Case(kind, f"bomb, {name}", bomb, REFUSED, megabytes=250))
    return found + _shapes(kind)


def _shapes(kind: str) -> list[Case]:
    """One tensor of four numbers, with sizes, strides and offsets from a list of odd ones."""
    numbers = (-1, 0, 3, 5, HUGE - 1, HUGE, 1 << 64)
    contents: dict[str, bytes] = {}
    for number in numbers:
        contents[f"size {number}"] = tensor(storage(4), (number,), (1,))
        contents[f"stride {number}"] = tensor(storage(4), (4,), (number,))
        contents[f"offset {number}"] = tensor(storage(4), (4,), (1,), number)
        contents[f"elements {number}"] = tensor(storage(number), (4,), (1,))
    old = {
        f"{name} (legacy)": legacy(
            data.replace(b"tQ", b"NtQ"), b"\x80\x02]" + text("0") + b"a.", struct.pack("<q", 4) + WEIGHT
        )
        for name, data in contents.items()
    }
    new = {name: zipped(data, **{"0": WEIGHT}) for name, data in contents.items()}
    return several(kind, new | old, FAILED)
