"""Random pickles of the opcodes that are allowed: whatever comes, torch does nothing but read."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.fuzzing import answers
from helpers.handmade_checkpoints import DICT, WEIGHT, legacy, storage, tensor, text, whole, zipped
from mmbd.formats.pickles import rebuilt
from mmbd.formats.pickles.allowed import CALLS


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.bin"


BYTES = b"c_codecs\nencode\n" + text("\0" * 8) + text("latin1") + b"\x86R"
F8 = b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R"
STATE = pickle.dumps((3, "<", None, None, None, -1, -1, 0), 2)[2:-1]
ARRAY = (
    b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    + whole(0)
    + b"\x85"
    + b"c_codecs\nencode\n"
    + text("b")
    + text("latin1")
    + b"\x86R\x87R"
)
FULL = ARRAY + b"(K\x01" + whole(1) + b"\x85" + F8 + b"\x89" + BYTES + b"tb"
# A tensor alone, and one over a storage of bytes.
VALUE = tensor(storage(4), (2, 2), (2, 1))[2 + len(DICT) : -2]
WIDE = (
    b"ctorch._utils\n_rebuild_tensor_v3\n("
    + storage(16, key="1", kind="UntypedStorage").replace(b"ctorch\n", b"ctorch.storage\n")
    + whole(0)
    + whole(2)
    + b"\x85"
    + whole(1)
    + b"\x85\x89Nctorch\nuint16\ntR"
)
STORED = {"0": WEIGHT, "1": WEIGHT}
PIECES = [
    b"}",
    b"]",
    b")",
    b"(",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"R",
    b"s",
    b"u",
    b"a",
    b"e",
    b"b",
    b"Q",
    b"N",
    b"\x88",
    b"\x89",
    b"K\x01",
    b"J\xff\xff\xff\xff",
    b"G@\x08\0\0\0\0\0\0",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"r\0\0\0\1",
    b"j\0\0\0\1",
    whole(2),
    whole(1 << 70),
    whole(-1),
    text("storage"),
    text("0"),
    text("cpu"),
    text("weight"),
    text("_metadata"),
    text("latin1"),
    b"U\x03abc",
    b"U\x01\xff",
    storage(4),
    storage(4, last=b"N"),
    storage(4, key="1"),
    b"ccollections\nOrderedDict\n",
    b"ccollections\nCounter\n",
    b"ctorch\nSize\n",
    b"ctorch\ndevice\n",
    b"c_codecs\nencode\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nfloat32\n",
    b"ctorch._utils\n_rebuild_tensor\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"(" + whole(2) * 2 + b"t",
    tensor(storage(4), (2, 2), (2, 1))[2:-1],
    tensor(storage(4), (2,), (0,))[2:-1],
    b".",
    # What is harmless beside the weights: other keys, sets, NumPy's, attributes, other numbers.
    b"\x81",
    b"c__builtin__\nset\n",
    b"c__builtin__\nfrozenset\n",
    b"c__builtin__\ncomplex\n",
    b"c__builtin__\nbytearray\n",
    b"c__builtin__\nbytes\n",
    b"cargparse\nNamespace\n",
    b"cargparse\nNamespace\n)\x81",
    b"c__builtin__\nset\n](K\x01Ne\x85R",
    b"c_codecs\nencode\n" + text("\0" * 8) + text("latin1") + b"\x86R",
    text("f8"),
    text("O8"),
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"cnumpy._core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    F8,
    F8 + STATE + b"b",
    ARRAY,
    FULL,
    b"cnumpy.core.multiarray\nscalar\n" + F8 + BYTES + b"\x86R",
    b"ctorch\nuint16\n",
    b"ctorch\nfloat8_e5m2\n",
    b"ctorch\nTensor\n",
    b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch._utils\n_rebuild_parameter_with_state\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch.serialization\n_get_layout\n",
    text("torch.sparse_coo"),
    text("conj"),
    b"ctorch.serialization\n_get_layout\n" + text("torch.sparse_csr") + b"\x85R",
    VALUE,
    b"ctorch._utils\n_rebuild_parameter_with_state\n(" + VALUE + b"\x88N}tR",
    WIDE,
    WIDE.replace(b"uint16", b"float8_e5m2"),
    b"cnumpy\nobject_\n",
    b"cnumpy\nmemmap\n",
]


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25), old=st.booleans())
def test_random_pickles_of_allowed_opcodes(scratch: Path, pieces: list[bytes], old: bool) -> None:
    pickled = b"\x80\x02" + b"".join(pieces) + b"."
    answers(scratch, legacy(pickled) if old else zipped(pickled, **STORED))


LEAVES = [
    b"N",
    b"\x88",
    b"K\x01",
    b"]",
    b"}",
    b")",
    whole(1 << 70),
    b"G@\x08\0\0\0\0\0\0",
    text("a"),
    text("latin1"),
    text("f8"),
    text("torch.sparse_coo"),
    BYTES,
    F8,
    F8 + STATE + b"b",
    STATE,
    ARRAY,
    FULL,
    VALUE,
    WIDE,
    storage(4),
    b"cargparse\nNamespace\n)\x81",
    b"ctorch\nfloat16\n",
    b"ccollections\nOrderedDict\n)R",
]
CALLED = [
    f"c{module}\n{name}\n".encode() for module, _, name in (name.rpartition(".") for name in sorted(CALLS))
]
# Whole values: what allowed calls may be given, in any number and order, and what they may hold.
VALUES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: b"](" + b"".join(items) + b"e"),
        st.lists(inner, max_size=3).map(lambda items: b"(" + b"".join(items) + b"t"),
        st.lists(st.tuples(inner, inner), max_size=2).map(
            lambda pairs: b"}(" + b"".join(map(b"".join, pairs)) + b"u"
        ),
        st.tuples(st.sampled_from(CALLED), st.lists(inner, max_size=4)).map(
            lambda call: call[0] + b"(" + b"".join(call[1]) + b"tR"
        ),
        st.tuples(inner, inner).map(lambda pair: b"".join(pair) + b"b"),
    ),
    max_leaves=6,
)

SEEN: list[str] = []
# What torch and NumPy are allowed to do while they read: nothing of these.
EVENTS = (
    "import",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "socket.",
    "pickle.find_class",
    "ctypes.",
    "open",
)


def test_no_pickle_that_passes_makes_torch_do_anything(scratch: Path) -> None:
    """An audit hook watches what happens in torch's hands once the allow list is passed."""
    watching, load = [False], rebuilt.torch.load

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching[0] and event.startswith(EVENTS):
            SEEN.append(f"{event} {arguments!r:.200}")

    def watched(*arguments: object, **options: object) -> object:
        watching[0] = True
        try:
            return load(*arguments, **options)
        finally:
            watching[0] = False

    answers(scratch, zipped(tensor(storage(4), (2, 2), (2, 1)), **STORED))  # imports all
    sys.addaudithook(hook)
    passed: list[int] = []

    @settings(max_examples=300)
    @given(items=st.lists(VALUES, max_size=4), old=st.booleans())
    def run(items: list[bytes], old: bool) -> None:
        pickled = b"\x80\x02](" + b"".join(items) + b"e."
        answers(scratch, legacy(pickled) if old else zipped(pickled, **STORED))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilt.torch, "load", lambda *a, **o: passed.append(1) or watched(*a, **o))
        run()
        for piece in (VALUE, WIDE, F8, ARRAY, BYTES):
            answers(scratch, zipped(b"\x80\x02](" + piece + b"e.", **STORED))
    assert not SEEN
    assert len(passed) > 25
