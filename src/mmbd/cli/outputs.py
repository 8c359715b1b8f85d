"""The files that a command writes: where every result goes is settled before the work begins.

All commands name outputs alike: `--out FILE` writes the form of the suffix, `--out FOLDER/` one file
a model, `--out -` prints; options such as --html say the form themselves. Forms are the rows of
`mmbd.render.save.RENDERERS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mmbd.base.text import clean_text
from mmbd.cli import naming, places, streams
from mmbd.cli.options import Outs, Plain, Usage, one_of

if TYPE_CHECKING:
    from mmbd.render.save import Renderer

# Suffixes that an option which names its form takes as well.
ALSO = {
    "sarif": (".json",),
    "junit": (".xml",),
    "cyclonedx": (".json",),
    "intoto": (".json",),
    "card": (".md",),
}
USUAL = "json"  # the form of a folder, and of what is printed

# An option, the form that it names (None: that of the suffix), and the place: a file, a folder, "-",
# or None for an option that was not given.
Wanted = tuple[str, str | None, str | None]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Destinations:
    """Where reports go.

    Attributes:
        out: A file to write the report to, in the form of its suffix, such as .json, .html, .sarif or
            .junit.xml ("mmbd list reports" shows all), a folder (a name that ends in /) for one JSON file
            a model, or - to print JSON; may be repeated. Pictures go into a safetensors file beside the
            JSON. In a folder, a report on the same path is replaced, one on another model is kept.
        form: The form of what --out names, whatever the suffix: html, json, sarif, junit, cyclonedx,
            intoto or card ("mmbd list reports"); without --out it is printed.
        json_to: Write JSON whatever the suffix: a file, a folder for one file a model, or - to print.
        html_to: Write one HTML page, or one a model into a folder.
        sarif_to: Write one SARIF file about all models, .sarif or .json.
        quiet: Print one line a model, and no progress.
    """

    out: Outs = None
    form: Annotated[str | None, Parameter(name="--format")] = None
    json_to: Annotated[str | None, Parameter(name="--json", allow_leading_hyphen=True)] = None
    html_to: Annotated[str | None, Parameter(name="--html")] = None
    sarif_to: Annotated[str | None, Parameter(name="--sarif")] = None
    quiet: Annotated[bool, Plain] = False

    @property
    def wanted(self) -> list[Wanted]:
        """What was given, as `plan` takes it; Usage for a form that reports do not have."""
        if self.form is not None:
            one_of("--format", self.form, "form", _forms("report"), "reports")
        named: list[Wanted] = [("--format", self.form, "-")] if self.form and not self.out else []
        named += [
            ("--json", "json", self.json_to),
            ("--html", "html", self.html_to),
            ("--sarif", "sarif", self.sarif_to),
        ]
        return [*(("--out", self.form, place) for place in self.out or ()), *named]


EVERYTHING_PRINTED = Destinations()


@dataclass(frozen=True)
class Output:
    """One output: its form, and a file for every result, or one about all."""

    option: str
    form: Renderer
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Outputs:
    """Where results go; see `plan`.

    Args:
        names: what each result is about, for messages.
        each: outputs with a file for every result.
        together: outputs that are one file about all results.
        printed: the form that is printed, if any.
    """

    names: tuple[Path, ...]
    each: tuple[Output, ...]
    together: tuple[Output, ...]
    printed: Renderer | None

    def write(self, number: int, result: Any) -> bool:
        """Write the files of one result; whether that worked, else it has been said."""
        done = True
        for output in self.each:
            file, name = output.files[number], self.names[number]
            done &= written(file, lambda output=output, file=file: _save(output.form, [result], file))
            if len(self.names) > 1 and file.name != f"{name.name}{output.form.suffixes[0]}":
                streams.complain(f"{clean_text(name, 400)}: report in {clean_text(file, 400)}")
        return done

    def write_all(self, results: Sequence[Any]) -> bool:
        """Print what is to be printed, and write what is about all results."""
        if self.printed is not None:
            streams.say(_printed_text(self.printed, results))
        done = True
        for output in self.together:
            (file,) = output.files
            done &= written(file, lambda output=output, file=file: _save(output.form, results, file))
        return done


def plan(
    kind: str,
    wanted: Sequence[Wanted],
    names: Sequence[Path],
    inputs: Sequence[Path],
    *,
    about: Sequence[Path] | None = None,
    other: Sequence[str] = (),
) -> Outputs:
    """Check every place, and make the folders.

    Args:
        kind: of results, as in RENDERERS: "report", "evaluation" or "repair".
        wanted: what was given.
        names: what each result is about; files in folders are called after it.
        inputs: all that is read, which may not be overwritten.
        about: see `naming.reports`.
        other: further suffixes that the option takes, for messages.

    Raises:
        Usage: a place that cannot be.
        Failed: a folder that cannot be written to.
    """
    from mmbd.render.save import by_suffix

    forms = _forms(kind)
    printed: list[Renderer] = []
    each: list[Output] = []
    together: list[Output] = []
    folders: list[tuple[str, Path]] = []
    taken: dict[str, str] = {}
    for option, named, place in wanted:
        if place is None:
            continue
        if place == "-":
            printed.append(_printed(option, named, forms))
            continue
        in_folder = kind == "report" and _is_folder(str(place), named is not None)
        form = forms[USUAL] if in_folder and named is None else forms.get(named or "")
        if in_folder and not (form and form.several):
            assert form is not None
            folder = places.folder(option, place, make=False)
            folders.append((option, folder))
            files = naming.reports(names, folder, form.suffixes[0], about)
            for file in files:
                places.check_apart(option, file, inputs)
        else:
            suffixes = [suffix for row in forms.values() for suffix in row.suffixes]
            if form is not None:
                suffixes = [*form.suffixes, *ALSO.get(named or "", ())]
            hint = ", or a folder" if kind == "report" and not (form and form.several) else ""
            suffixes = [*(() if named else other), *suffixes]
            files = [places.file(option, place, suffixes, inputs, other=hint)]
            form = form or by_suffix(forms.values(), files[0])
            assert form is not None  # `places.file` has looked at the suffix
            if len(names) > 1 and not form.several:
                raise Usage(
                    f"{option} {clean_text(place, 200)}: with several models, files that are about one take "
                    "a folder (a name that ends in /), or - to print"
                )
        _take(taken, option, files)
        if (kind, form) == ("report", forms[USUAL]):
            _take(taken, option, [places.check_artifacts(option, file, inputs) for file in files])
        (together if form.several else each).append(Output(option, form, tuple(files)))
    if len(printed) > 1:
        raise Usage("only one output can be printed: give - once")
    for option, folder in folders:  # once everything has been looked at
        places.folder(option, folder)
    return Outputs(tuple(names), tuple(each), tuple(together), printed[0] if printed else None)


def outs(places: Sequence[str] | None) -> list[Wanted]:
    """What `--out` was given, as `plan` takes it."""
    return [("--out", None, place) for place in places or ()]


def written(file: Path, act: Callable[[], object]) -> bool:
    """Whether a file could be written; what went wrong is told, and the other results are written."""
    try:
        act()
    except Exception as error:  # a full disk, a folder that has gone, or a bug in a renderer
        words = clean_text(error, 400) or type(error).__name__
        streams.complain(f"cannot write {clean_text(file, 400)}: {words}")
        return False
    return True


def _save(form: Renderer, results: Sequence[Any], file: Path) -> None:
    from mmbd.base.writing import write_text
    from mmbd.render.save import by_suffix, save

    if by_suffix([form], file):
        save(list(results), file)
    else:  # one in ALSO
        write_text(file, form.text(results, file))


def _printed(option: str, named: str | None, forms: dict[str, Renderer]) -> Renderer:
    if named == "html":
        raise Usage(f"{option} -: expected a file or a folder; --json - prints")
    return forms[named or USUAL]


def _printed_text(form: Renderer, results: Sequence[Any]) -> str:
    """One text about all results, or a JSON list of one a result: forms that are about one are JSON."""
    if form.several or len(results) == 1:
        return _text(form, results)
    return "[" + ",\n".join(_text(form, [result]) for result in results) + "]"


def _text(form: Renderer, results: Sequence[Any]) -> str:
    from mmbd.results.report import Report

    if form.result is Report and form.suffixes == (
        ".json",
    ):  # without artifacts, which only files have beside them
        return results[0].to_json()
    return form.text(results, Path()).rstrip("\n")


def _forms(kind: str) -> dict[str, Renderer]:
    """The forms of a kind of result, by name."""
    from mmbd.render.save import RENDERERS

    return {name: row for (result, name), row in RENDERERS.items() if result == kind}


def _take(taken: dict[str, str], option: str, files: Sequence[Path]) -> None:
    """Note the files of an output; Usage where another output goes there too."""
    for file, place in {file: os.path.realpath(file) for file in files}.items():
        if place in taken:
            shown = f"{option} {clean_text(file, 200)}"
            raise Usage(f"{shown}: {taken[place]} goes there already: two of the outputs are one file")
    taken |= dict.fromkeys(map(os.path.realpath, files), option)


def _is_folder(place: str, form_is_named: bool) -> bool:
    """A folder that is there, whatever its name, or a name that says so.

    Where an option names the form, a name without a suffix is a folder too.
    """
    path = Path(place)
    if os.path.lexists(path):
        return path.is_dir()
    return place.endswith(("/", os.sep)) or (form_is_named and not path.suffix)
