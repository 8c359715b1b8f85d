"""TorchScript archives and whole pickles, which are programs: run and scanned wholly inside a sandbox.

Only where somebody asks for it (`--trust-code`). A report is all that comes out, and it is checked as one of
a stranger. What the program did to the scan beside it, nobody can see from outside: a whole pickle may hold
any Python, and a verdict of clean that it let out is none. TorchScript cannot reach the scan.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.sandbox import client, locks, server
from mmbd.base.text import clean_text, listed
from mmbd.formats.options import LoadOptions
from mmbd.results.report import MOST_BYTES, Report

if TYPE_CHECKING:
    from mmbd.detectors.scan import ScanOptions
    from mmbd.formats.files import File

JOB, PROBE = (f"mmbd.workflows.trusted:{name}" for name in ("judge", "nothing"))
MODULES = ("mmbd.workflows.trusted", "mmbd.formats.loading", "mmbd.detectors.scan")
MEMORY, TIMES = 6 << 30, 8  # bytes, and as many times the file's own
HOUR, MORE = 3600.0, 120.0  # seconds: a scan's usual limit, and what loading may take
NEEDED = {"seccomp"}  # without it, a sandbox holds no program
SCRIPT, PICKLED = "TorchScript", "a whole pickle"
UNSANDBOXED = "give --trust-unsandboxed as well to run it with all your rights, if you trust it that far"
ADVICE = "A network needs no more than the sandbox allows: do not use the file"
UNSURE = (
    "nothing stands out, but the file's own code ran beside the scan and could have written this report: "
    "scan its weights alone, or give --as-claimed to believe it"
)


def scan(
    path: str | Path, loading: LoadOptions, scanning: ScanOptions, refusal: Refused, *, unsandboxed: bool
) -> Report:
    """Scan a file that was refused because it is a program of PyTorch's.

    Args:
        path: the file.
        loading: what it does not say; its inputs' shape, at least.
        scanning: the detector and its settings.
        refusal: why it was refused.
        unsandboxed: run it in this process where the system has no sandbox.

    Raises:
        Refused: it is no such program.
        Failed: it does not load or fit, the sandbox ended it, or there is none.
        NotEvaluable: its outputs are not logits.
    """
    from mmbd.formats import files

    file = files.read(path, loading.max_bytes)
    kind = _kind(file)
    if kind is None:
        raise refusal
    if loading.input_shape is None:
        raise Failed(f"{kind} does not say what inputs it takes: give --input, such as 3x32x32")
    if str(loading.device) != "cpu":
        raise Failed("a sandbox has no devices: leave --device out")
    request: dict[str, Any] = {"kind": file.kind, "script": kind == SCRIPT}
    request |= {"path": str(file.path), "sha256": file.sha256}
    try:
        settings = pickle.dumps((loading, scanning))
    except Exception as error:
        raise Failed(
            f"these settings cannot be taken into a sandbox: {clean_text(str(error), 200)}"
        ) from None
    lacking = client.NO_SYSTEM
    if client.available():
        with closing(client.Sandbox(MODULES, forked=False)) as sandbox:
            missing = sandbox.do(PROBE, {}, limits=locks.Limits(), most=0).missing
            if not NEEDED & {*missing}:
                return _inside(sandbox, file, request, settings, loading, scanning)
            lacking = f"this system's have no {listed(missing)}"
    if not unsandboxed:
        raise Failed(f"{kind} is run in a sandbox alone: {lacking}. {UNSANDBOXED}")
    report = _judged(bytes(file.data), request, loading, scanning)
    return _named(report, file, f"code in the file ran with all your rights: {lacking}")


def _kind(file: File) -> str | None:
    """Which kind of program a refused file is; None for what PyTorch does not load."""
    from mmbd.formats import archives, refusals
    from mmbd.formats.table import PICKLE

    if file.kind == "zip":
        what = archives.foreign(archives.members(bytes(file.data)))
        return SCRIPT if what == refusals.TORCHSCRIPT else PICKLED if what is None else None
    if file.kind == PICKLE and file.path.stat().st_size > len(file.data):
        return None  # only its beginning was read, and hashed
    return PICKLED if file.kind in ("torch legacy", PICKLE) else None


def _inside(
    sandbox: client.Sandbox,
    file: File,
    request: dict[str, Any],
    settings: bytes,
    loading: LoadOptions,
    scanning: ScanOptions,
) -> Report:
    import torch

    threads = torch.get_num_threads()
    limits = locks.Limits(MEMORY + TIMES * len(file.data), (scanning.limit or HOUR) + MORE, threads)
    answer = sandbox.do(
        JOB,
        request | {"threads": threads},
        [file.data, settings],
        limits=limits,
        most=MOST_BYTES,
        own=True,
        advice=ADVICE,
    )
    try:
        report = Report.from_json(answer.result.decode("utf-8"))
        said = report.detector, report.version, report.level
        if said != (scanning.name, scanning.row.version, scanning.level):
            raise ValueError("a report of another scan")
    except (ValueError, TypeError, KeyError) as error:
        words = clean_text(str(error), 300)
        raise Failed(f"what came out of the sandbox is no report: {words}. {ADVICE}") from None
    without = f" (without {listed(answer.missing)})" if answer.missing else ""
    report = _named(report, file, f"code in the file ran, in a sandbox{without}, and so did this scan")
    if report.verdict != "clean" or request["script"] or loading.as_claimed:
        return report
    finding = replace(report.finding, verdict="not evaluable", reason=UNSURE, targets=(), score=None)
    return replace(report, finding=finding)


def _named(report: Report, file: File, note: str) -> Report:
    """The report with what this process knows itself, and the note before its other caveats."""
    known = {"sha256": file.sha256, "bytes": len(file.data), "file": str(file.path), "name": file.path.name}
    finding = replace(report.finding, caveats=(note, *report.finding.caveats))
    return replace(report, model=replace(report.model, **known), finding=finding)


def nothing(inside: server.Inside, request: dict[str, Any]) -> Sequence[bytes]:
    """The job that only shows which locks a sandbox has."""
    return ()


def judge(inside: server.Inside, request: dict[str, Any]) -> Sequence[bytes]:
    """The job: it runs in a sandbox, gets the file's bytes and the settings, and answers with a report."""
    import torch

    data = inside.given_bytes()
    loading, scanning = pickle.loads(inside.given_bytes())  # noqa: S301 - of the process that asks
    torch.set_num_threads(request["threads"])
    return [_judged(data, request, loading, scanning).to_json().encode()]


def _judged(data: bytes, request: dict[str, Any], loading: LoadOptions, scanning: ScanOptions) -> Report:
    """Run the file, and scan what it makes."""
    import torch

    from mmbd.detectors.scan import scan_by
    from mmbd.formats.files import File
    from mmbd.formats.format import Contents, Graph
    from mmbd.formats.loading import whole
    from mmbd.formats.table import PICKLE

    path = Path(request["path"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, that nobody should make such files any more
            if request["script"]:
                module: Any = torch.jit.load(io.BytesIO(data), map_location="cpu")
            elif request["kind"] == PICKLE:
                module = pickle.loads(data)  # noqa: S301 - what this is for
            else:
                module = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except ImportError as error:
        words = clean_text(str(error), 200)
        raise Failed(
            f"its code needs what is not here ({words}): install it, or add it to PYTHONPATH"
        ) from None
    except Exception as error:
        raise Failed(f"its code raised {type(error).__name__}: {clean_text(str(error), 300)}") from None
    if not isinstance(module, torch.nn.Module):
        raise Failed(
            f"it holds no network but {type(module).__name__}: save the network's state_dict() alone, and "
            "scan that with --arch"
        )
    title = f"{SCRIPT} archive" if request["script"] else "pickled module"
    held = Contents(None, title, None)
    graph = Graph(module, f"{title} ({type(module).__name__})")
    loaded = whole(
        path, File(path, data, request["sha256"], request["kind"], ()), len(data), held, graph, loading
    )
    return scan_by(loaded, scanning)
