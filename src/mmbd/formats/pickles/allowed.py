"""What the pickle of a torch checkpoint may name and call, and the inert things that come of it.

Each entry of `CALLS` checks its arguments as torch would use them and returns a stand-in; a name
that is not here is refused. Lists and dictionaries are themselves: building them runs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import NoneType
from typing import Any

from mmbd.base.errors import Refused
from mmbd.formats.advice import broken, excessive
from mmbd.formats.pickles import arrays, tensors
from mmbd.formats.pickles.stand_ins import DTYPES, MAX_ODD_KEYS, STORAGES, Global, Namespace, Storages, odd

ITEM_BYTES = 64  # of a list or a dictionary, roughly
MAX_IN_KEY, MAX_KEY_TEXT = 16, 200

NAMESPACE = "argparse.Namespace"
# Names that stand for themselves: types, and the classes that a call may be given.
NAMES = {
    *(f"torch.{name}" for name in DTYPES),
    *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    *tensors.TYPES,
    *STORAGES,
    "numpy.ndarray",
    NAMESPACE,
}
# Harmless perhaps, but no weights that could be scanned; the refusal says what they are.
UNREAD = {
    "torch._utils._rebuild_qtensor": "a quantised tensor: save the weights before quantisation",
    "torch._utils._rebuild_nested_tensor": "a nested tensor: save plain tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no numbers",
}


def set_items(target: Any, items: list[Any], storages: Storages) -> None:
    """What SETITEM and SETITEMS may do, with keys of bounded cost."""
    if type(target) not in (dict, OrderedDict):
        raise Refused("the pickle sets an item of something that is no dictionary")
    if len(items) % 2:
        raise broken("the pickle sets a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        check_key(key, storages)
        target[key] = value


def check_key(key: Any, storages: Storages) -> None:
    """Only keys whose hashes are cheap: of those that could be made to collide, some hundred."""
    if type(key) is str or (type(key) is int and abs(key) < 1 << 60):
        return
    if not _cheap(key, [MAX_IN_KEY]):
        raise Refused(f"a dictionary key of type {type(key).__name__}: weights have names")
    storages.odd_keys += 1
    if storages.odd_keys > MAX_ODD_KEYS:
        raise excessive(f"the pickle has more than {MAX_ODD_KEYS:,} keys that are no names")


def _cheap(key: Any, left: list[int]) -> bool:
    """Whether a key is a plain value, or a tuple of altogether few (`left`) of them."""
    left[0] -= 1
    if left[0] < 0:
        return False
    kind = type(key)
    if kind is tuple:
        return all(_cheap(part, left) for part in key)
    if kind is int:
        return abs(key) < 1 << 60
    if kind in (str, bytes):
        return len(key) <= MAX_KEY_TEXT
    return kind in (bool, float, complex, NoneType, Global)


def _ordered_dict(arguments: tuple[Any, ...], storages: Storages) -> Any:
    made: OrderedDict[Any, Any] = OrderedDict()
    if arguments == ():
        return made
    if len(arguments) != 1 or type(arguments[0]) is not list:
        odd("collections.OrderedDict")
    storages.charge(ITEM_BYTES * len(arguments[0]))
    for pair in arguments[0]:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            odd("collections.OrderedDict")
        set_items(made, list(pair), storages)
    return made


def _counter(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        odd("collections.Counter")
    storages.charge(ITEM_BYTES * len(arguments[0]))
    if not all(type(value) is int for value in arguments[0].values()):
        odd("collections.Counter")
    set_items(made := {}, [part for pair in arguments[0].items() for part in pair], storages)
    return made


def _set(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if arguments == ():
        return set[Any]()
    if len(arguments) != 1 or type(arguments[0]) is not list:
        odd("builtins.set")
    storages.charge(ITEM_BYTES * len(arguments[0]))
    for item in arguments[0]:
        check_key(item, storages)
    return set(arguments[0])


def _complex(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 2 or not all(type(part) is float for part in arguments):
        odd("builtins.complex")
    return complex(*arguments)


def _bytes(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """bytes() and bytearray(of bytes): with a number, they would be as long as that."""
    if arguments == ():
        return b""
    if len(arguments) != 1 or type(arguments[0]) is not bytes:
        odd("builtins.bytearray")
    return arguments[0]


def _size(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        odd("torch.Size")
    return tensors.lengths(arguments[0])


def _device(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if not 1 <= len(arguments) <= 2 or type(arguments[0]) is not str or len(arguments[0]) > 40:
        odd("torch.device")
    return None


def _encode(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 2 or arguments[1] != "latin1" or type(arguments[0]) is not str:
        odd("_codecs.encode")
    storages.charge(len(arguments[0]))
    return arguments[0].encode("latin1")


def new(kind: Any, arguments: Any) -> Any:
    """What NEWOBJ may make: an argparse.Namespace, of which nothing is kept."""
    if kind != Global(NAMESPACE) or arguments != ():
        raise Refused("the pickle makes an object that is not on the allow list for weights")
    return Namespace()


def set_state(target: Any, state: Any) -> None:
    """What BUILD may do: hang the modules' versions on a state dict, complete a stand-in."""
    if type(target) in (arrays.NumpyType, arrays.NumpyArray):
        arrays.set_state(target, state)
        return
    versions = type(target) is OrderedDict and type(state) is dict and set(state) <= {"_metadata"}
    attributes = type(target) is Namespace and type(state) is dict
    if not versions and not attributes:
        raise Refused("the pickle sets attributes: that is not on the allow list for weights")


CALLS: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.complex": _complex,
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encode,
    **tensors.CALLS,
    **arrays.CALLS,
}
ALLOWED = frozenset(NAMES) | frozenset(CALLS)
