"""An allow list for the pickles in torch checkpoints: what may happen, checked before torch loads.

`vet` goes through a pickle as `torch.load(weights_only=True)` would, with inert stand-ins for
storages and tensors. It passes only the opcodes and the calls that weights need (`allowed`), and
only when the sizes they claim are really in the file. torch never sees this pickle: what passed is
written anew for it, the tensors alone (`rebuilt`). So no defect of torch's own restricted reader
can be reached through an odd call, a false size or a shared object, whatever its release.
"""

from __future__ import annotations

import io
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken, excessive
from mmbd.formats.pickles.allowed import ALLOWED, CALLS, UNREAD, new, set_items, set_state
from mmbd.formats.pickles.opcodes import operations
from mmbd.formats.pickles.stand_ins import Global, Storages
from mmbd.formats.pickles.tensors import storage

MAX_OPERATIONS = 1_000_000  # thirty a tensor


def vet(stream: io.BytesIO, storages: Storages) -> Any:
    """Go through one pickle; returns its value with empty tensors and stand-ins.

    `stream` must hold no more than `pickles.MAX_BYTES`.

    Raises:
        Refused: an opcode, a global or a call that is not on the allow list.
        Failed: malformed, cut short, or sizes that do not agree with the file.
    """
    try:
        return _run(stream, storages)
    except (Refused, Failed, MemoryError):
        raise
    except Exception as error:  # the bytes are hostile: whatever they make fail is their fault
        raise broken(f"the pickle is broken or cut short: {clean_text(str(error))}") from None


def _run(stream: io.BytesIO, storages: Storages) -> Any:
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks beneath each mark
    memo: dict[int, Any] = {}
    for count, (info, argument) in enumerate(operations(stream)):
        if count >= MAX_OPERATIONS:
            raise excessive(f"the pickle has more than {MAX_OPERATIONS:,} operations")
        match info.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "BINFLOAT" | "LONG1":
                stack.append(argument)
            case "MARK":
                below.append(stack)
                stack = []
            case "TUPLE":
                items, stack = stack, below.pop()
                stack.append(tuple(items))
            case "TUPLE1":
                stack[-1:] = [(stack[-1],)]
            case "TUPLE2":
                stack[-2:] = [(stack[-2], stack[-1])]
            case "TUPLE3":
                stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "NONE":
                stack.append(None)
            case "NEWTRUE":
                stack.append(True)
            case "NEWFALSE":
                stack.append(False)
            case "BINPERSID":
                stack.append(storage(stack.pop(), storages))
            case "GLOBAL":
                stack.append(_global(*argument))
            case "REDUCE":
                arguments = stack.pop()
                stack[-1] = _call(stack[-1], arguments, storages)
            case "NEWOBJ":
                arguments = stack.pop()
                stack[-1] = new(stack[-1], arguments)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                set_items(stack[-1], [key, value], storages)
            case "SETITEMS":
                items, stack = stack, below.pop()
                set_items(stack[-1], items, storages)
            case "APPEND":
                value = stack.pop()
                _extend(stack[-1], [value])
            case "APPENDS":
                items, stack = stack, below.pop()
                _extend(stack[-1], items)
            case "BUILD":
                state = stack.pop()
                set_state(stack[-1], state)
            case "SHORT_BINSTRING" if argument.isascii():
                stack.append(argument)
            case "PROTO" if argument == 2:
                pass
            case "STOP":
                return stack.pop()
            case other:
                detail = f" {argument}" if other == "PROTO" else ""
                raise Refused(f"pickle opcode {other}{detail} is not on the allow list for weights")
    raise broken("the pickle ends before its STOP")


def _global(module: str, name: str) -> Global:
    # Neither part of an allowed name is ambiguous once joined: each has one way to be split.
    # Protocol 2 calls the module of the builtins by its name in Python 2.
    full = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if full in ALLOWED and "." not in name:
        return Global(full)
    why = f" ({UNREAD[full]})" if full in UNREAD else ""
    raise Refused(f"{clean_text(full)} is not on the allow list for weights{why}")


def _call(function: Any, arguments: Any, storages: Storages) -> Any:
    if not isinstance(function, Global) or function.name not in CALLS:
        raise Refused("the pickle calls something that is not on the allow list for weights")
    if type(arguments) is not tuple:
        raise broken(f"the pickle calls {function.name} with {type(arguments).__name__}")
    return CALLS[function.name](arguments, storages)


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise Refused("the pickle appends to something that is no list")
    target.extend(items)
