"""What a model file is, before anybody scans it: nothing in it runs, and nothing is searched for.

A file is readable, broken or refused. Of a readable one: its format, its network where the file or the user
says which, its inputs and classes, and what a scan still has to be told. Of a refused one: what in it would
run. Digests of the file and of all that was read beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.formats.files import File
    from mmbd.formats.format import Contents
    from mmbd.formats.options import LoadOptions

SCHEMA = 1
READABLE, BROKEN, REFUSED = "readable", "broken", "refused"
CODES = {READABLE: gate.CLEAN, BROKEN: gate.FAILED, REFUSED: gate.REFUSED}
MOST_NAMES = 200
MOST_PICKLED = 64 << 20


@dataclass(frozen=True)
class Inspection:
    """What is known of a file.

    Args:
        file: the path, as it was given.
        state: "readable", "broken" or "refused".
        reason: why it is broken or refused, and what to do; None where it is readable.
        format: what it is, in words; None where that is not known.
        path, bytes, sha256: of the file that was read, which of a folder is the one in it.
        beside: SHA-256 of every other file that was read, by name.
        architecture, parameters, input_shape, bounds, mean, std, classes, class_names: of the network,
            where the file or the user says which it is.
        tensors: how many there are in a file of weights.
        claimed, doubts, assumed: as `mmbd.load` says them.
        would_run: the functions and classes that the file names and that reading it would call.
        needed: the options that a scan has to be given.
        notes: what was assumed, left out or not as usual.
    """

    file: str
    state: str
    reason: str | None = None
    format: str | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict[str, str])
    architecture: str | None = None
    parameters: int | None = None
    tensors: int | None = None
    input_shape: tuple[int, ...] | None = None
    bounds: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    claimed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    would_run: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code: 0 readable, 2 broken, 3 refused."""
        return CODES[self.state]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not known is None or empty."""
        from mmbd.base.jsonable import jsonable

        return {"schema": SCHEMA, **jsonable(asdict(self))}


def inspect_file(path: str | Path, options: LoadOptions) -> Inspection:
    """Look at one model file or folder. Whatever the file does, an answer and no traceback.

    Args:
        path: the file, or a folder of which one is read.
        options: what the user says of it, as for a scan; may be nothing.
    """
    found = Inspection(str(path), READABLE)
    try:
        return _read(Path(path), options, found)
    except Refused as error:
        return replace(found, state=REFUSED, reason=_reason(error), **_refused(Path(path), options))
    except (Failed, NotEvaluable) as error:
        return replace(found, state=BROKEN, reason=_reason(error))
    except (Exception, SystemExit) as error:  # the user's own factory, or a file that nobody foresaw
        return replace(found, state=BROKEN, reason=gate.raised(error))


def _read(path: Path, options: LoadOptions, found: Inspection) -> Inspection:
    from mmbd.formats import files
    from mmbd.formats.sandbox.reading import contents
    from mmbd.formats.table import FORMATS

    file = files.read(path, options.max_bytes, alone=options.arch is not None)
    found = replace(found, path=str(file.path), bytes=len(file.data), sha256=file.sha256)
    try:
        held = contents(file, options.sandbox)
    except Refused as error:
        return replace(
            found,
            state=REFUSED,
            reason=_reason(error),
            format=_title(file.kind),
            would_run=_globals(file.data),
        )
    except Failed as error:
        return replace(found, state=BROKEN, reason=_reason(error), format=_title(file.kind))
    found = replace(found, format=held.format, beside=dict(file.beside.digests))
    described = FORMATS[file.kind].build is not None or held.metadata is not None
    if described or options.arch is not None:
        return _loaded(path, options, found)
    return _weights(held, file, options, found)


def _loaded(path: Path, options: LoadOptions, found: Inspection) -> Inspection:
    """With the network built and asked once, as a scan would do before it searches."""
    from mmbd.formats.files import CHANGED
    from mmbd.formats.loading import load_file

    try:
        loaded = load_file(path, options)
    except Refused as error:
        return replace(found, state=REFUSED, reason=_reason(error))
    except NotEvaluable as error:  # it was read: a scan has to be told more, or can say nothing
        return replace(found, notes=(f"a scan could not judge it: {_reason(error)}",))
    except Failed as error:
        needed = _asked(error)
        state = {} if needed else {"state": BROKEN, "reason": _reason(error)}
        return replace(found, needed=needed, notes=(_reason(error),) if needed else (), **state)
    classifier, model = loaded.classifier, loaded.model
    if model.sha256 != found.sha256:
        raise Failed(f"{found.file}: {CHANGED}")
    numbers = tuple(str(label) for label in range(classifier.classes))
    return replace(
        found,
        architecture=model.architecture,
        parameters=model.parameters,
        input_shape=model.input_shape,
        bounds=model.bounds,
        mean=model.mean,
        std=model.std,
        classes=classifier.classes,
        class_names=None if classifier.class_names == numbers else classifier.class_names,
        claimed=loaded.claimed,
        doubts=loaded.doubts,
        assumed=loaded.assumed,
        notes=tuple(note for note in loaded.notes if not note.startswith("also read: ")),
    )


def _weights(held: Contents, file: File, options: LoadOptions, found: Inspection) -> Inspection:
    """Of tensors alone: how many, and which network their names look like."""
    from mmbd.formats import activation_bounds
    from mmbd.formats.networks import envelopes, nearest

    _, value = activation_bounds.split(held.value)
    try:
        dicts = envelopes.candidates(value, options.entry)
    except Failed as error:
        return replace(found, state=BROKEN, reason=_reason(error))
    largest = max(dicts, key=lambda each: sum(tensor.numel() for tensor in each.tensors.values()))
    notes = [*file.notes, *(note for note in held.notes if not note.startswith("also read: "))]
    if hint := nearest.hint(dicts, "its names look like "):
        notes.append(hint)
    if len(dicts) > 1:
        notes.append(f"it holds several state dicts: {', '.join(each.label for each in dicts[:20])}")
    return replace(
        found,
        parameters=sum(tensor.numel() for tensor in largest.tensors.values()),
        tensors=len(largest.tensors),
        needed=("--arch",) if options.input_shape else ("--arch", "--input"),
        notes=tuple(notes),
    )


def _asked(error: Failed) -> tuple[str, ...]:
    """The options that a complete file lacks, where that is all that is wrong."""
    words = str(error)
    if "give --input, such as" in words or "needs to know its inputs: give --input" in words:
        return ("--input",)
    if "which is not a built-in network: give --arch" in words:
        return ("--arch",)
    return ()


def _refused(path: Path, options: LoadOptions) -> dict[str, Any]:
    """What can be said of a file that is refused by its first bytes: its size, its digest, what it names."""
    import hashlib

    from mmbd.base import reading

    try:
        if not path.is_file():
            return {}
        with reading.opened(path, options.max_bytes) as opened:
            data = opened.read(options.max_bytes)
    except (Failed, OSError):
        return {}
    digest = hashlib.sha256(data).hexdigest()
    return {"path": str(path), "bytes": len(data), "sha256": digest, "would_run": _globals(data)}


def _globals(data: bytes | bytearray) -> tuple[str, ...]:
    """What the pickles in a file name beyond what weights need; reading them as Python does would call it."""
    from mmbd.formats import archives, checkpoints
    from mmbd.formats.pickles import opcodes
    from mmbd.formats.pickles.allowed import ALLOWED

    data = bytes(data[:MOST_PICKLED])
    try:
        infos = archives.members(data) if checkpoints.is_zip(data[:16]) else None
        pickled = [data] if infos is None else archives.pickled(data, infos)
        found = opcodes.names_in(pickled).globals
    except (Failed, Refused, MemoryError):
        return ()
    strange = [clean_text(name, 200) for name in found if name not in ALLOWED]
    return tuple(strange[:MOST_NAMES])


def _title(kind: str) -> str:
    from mmbd.formats.table import FORMATS

    return FORMATS[kind].title if kind in FORMATS else "a Python pickle"


def _reason(error: Exception) -> str:
    return clean_text(str(error), 2000)
