"""Names of reports in a folder: one a model, whatever the models are called, and none lost.

A report is called after its model's file: `resnet.safetensors.json`. Where two models share that
name, or a report about another model has it already, the folders of the model's path go before it
(`a_model.safetensors.json`), and where that is not enough, a digest of the path goes behind it.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mmbd.base.text import clean_text

FILE = re.compile(r"<dt>file</dt><dd[^>]*><bdi>([^<]*)</bdi>")  # in a page
LONGEST = 200  # bytes, so that there is room for a suffix
MOST = 64 << 20  # bytes of a report
FORBIDDEN = set('/\\:*?"<>|')  # on one system or another


def reports(
    models: Sequence[Path], folder: Path, suffix: str, about: Sequence[Path] | None = None
) -> list[Path]:
    """Where the report on every model goes; models that are one file share one.

    Args:
        models: as given on the command line; the reports are called after them.
        folder: where the reports go.
        suffix: of the reports, such as ".json".
        about: the models that the reports are on, where they are called after something else.
    """
    keys = [os.path.normpath(model) for model in models]
    first = dict(zip(keys, models, strict=True))
    known = dict(zip(keys, about or models, strict=True))
    shorts = [_fold(_short(model)) for model in first.values()]
    chosen: dict[str, Path] = {}
    taken: set[str] = set()
    # Those with a name of their own first, so that nobody's longer name takes it from them.
    for key, model in sorted(first.items(), key=lambda item: shorts.count(_fold(_short(item[1])))):
        names = [_long(model), _digested(model)]
        if shorts.count(_fold(_short(model))) == 1:
            names.insert(0, _short(model))
        free = [name for name in names if _fold(name) not in taken]
        found = next(
            (name for name in free if not _of_another(folder / f"{name}{suffix}", known[key])), names[-1]
        )
        taken.add(_fold(found))
        chosen[key] = folder / f"{found}{suffix}"
    return [chosen[key] for key in keys]


def _short(model: Path) -> str:
    """The file's own name; that of the folder for one such as "."."""
    name = model.name if model.name.strip(".") else model.resolve().name
    return _fit(name or "model", model)


def _long(model: Path) -> str:
    parts = [part for part in Path(os.path.normpath(model)).parts if part not in (os.sep, ".")]
    return _fit("_".join(parts) or _short(model), model)


def _digested(model: Path) -> str:
    return _cut(_plain(model.name or "model"), _digest(model))


def _fit(name: str, model: Path) -> str:
    """The name as file systems take it, with a digest behind it where something is lost."""
    plain = _plain(name)
    if plain == name and len(os.fsencode(plain)) <= LONGEST:
        return plain
    return _cut(plain, _digest(model))


def _plain(name: str) -> str:
    shown = "".join(
        "_" if character in FORBIDDEN or not character.isprintable() else character for character in name
    )
    return f"_{shown}" if shown.startswith(("-", ".", "~")) else shown


def _cut(name: str, digest: str) -> str:
    known = name.encode("utf-8", "replace")[: LONGEST - len(digest) - 1].decode("utf-8", "ignore")
    return f"{known}-{digest}"


def _digest(model: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.normpath(model))).hexdigest()[:12]


def _fold(name: str) -> str:
    """As file systems compare names that do not tell A from a."""
    return unicodedata.normalize("NFC", name).casefold()


def _of_another(report: Path, model: Path) -> bool:
    """Whether there is a file that is no report on the model of this path, or on a file in it."""
    if not os.path.lexists(report):
        return False
    try:
        text = _start(report)
        if report.suffix == ".json":
            known = str(json.loads(text)["model"]["file"])
        else:
            known = html.unescape(FILE.findall(text)[0])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return True
    # Cut and escaped in a page; a folder's report is on the file in it.
    return all(clean_text(model, 400) != clean_text(path, 400) for path in (Path(known), Path(known).parent))


def _start(report: Path) -> str:
    """A report's text; nothing of what is no regular file, which might never end."""
    if not report.is_file():
        return ""
    with report.open("rb") as opened:
        return opened.read(MOST).decode("utf-8")
