"""What every detector is: a function that judges one classifier, and a row that says what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmbd.base.choose import unknown
from mmbd.results.finding import Finding

Need = Literal["samples", "labels", "references", "shadow models"]

# function(classifier, samples, *, level, seed, progress, **options) -> Finding. `samples` are the
# `mmbd.model.samples.Samples` that the user gave, or None; every random choice follows from `seed`;
# `progress` is called with a `mmbd.base.progress.Progress` of this one run. It raises NotEvaluable
# where it can say nothing of the classifier, and ValueError for options that make no sense.
Function = Callable[..., Finding]


@dataclass(frozen=True)
class About:
    """What reports say about a detector in words: plain text, whole sentences but for titles.

    `backdoored` and `clean` may hold {outliers}, a sentence on how many classes stand out, and
    {chance}, one on what the deciding test says; `suspect` may hold {value} and {column}.

    Args:
        title: its name and its idea in one line.
        source: where it was published.
        rule: what a flagged model is, for code scanners.
        mark: what a backdoor leaves that this detector looks for.
        backdoored: what it means that a model was flagged.
        clean: what it means that nothing was found.
        statistics: the heading of the plot of the first column.
        columns: by name, what the numbers by class are.
        artifacts: how the pictures are headed, and what they are. Without the latter, a report
            without pictures says nothing of them.
        suspect: what the picture of a target class shows.
        traces: how the traces are headed, and what they are.
        step: what one number of a trace belongs to.
        tested: how the table of tests is headed, for terminals.
        test: what one of its tests is called.
        tests: each test by name: how it is called, and what it compares a model with.
        gamma: tests that fit a Gamma to all numbers of the first column but the largest, with the
            parameters `shape`, `loc` and `scale`: the first one's density is drawn.
        advice: further steps after the verdict: by verdict, sentences, with `code` in backticks.
    """

    title: str
    source: str = ""
    rule: str = "The classifier behaves as backdoored ones do."
    mark: str = ""
    backdoored: str = "{outliers} {chance} It is evidence, not a proof of intent."
    clean: str = "Nothing that backdoors leave behind stands out. {chance}"
    statistics: str = "What was measured of each class"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    artifacts: tuple[str, str] = ("What was found", "")
    suspect: str = "The {column} of the class is {value}."
    traces: tuple[str, str] = ("How the searches went", "")
    step: str = "step"
    tested: str = "Tests"
    test: str = "test"
    tests: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    gamma: tuple[str, ...] = ()
    advice: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def any_values(options: Mapping[str, Any]) -> None:
    """For rows that check the values of their options only as they run."""


@dataclass(frozen=True)
class Detector:
    """A row of `DETECTORS`.

    Args:
        find: see `Function`.
        version: raised when its findings change; part of what stored results are known by.
        about: the words of its reports.
        needs: what it cannot do without.
        takes_samples: whether clean samples help it, though it can do without.
        per_class: clean samples of every class that it takes unless the user says otherwise; those that
            the paper gave it (table 1).
        fewest: samples of every class that it cannot do without.
        kinds: of inputs that it judges, see `mmbd.model.domain.KINDS`; empty for any.
        options: preset options of `find`; those of the user come on top.
        more: the names of the options that `find` takes by `**`; any where it is empty.
        files: options that may be given as the path of a file, with what reads it. The file is read
            once, before anything runs, and stored results go by what is in it.
        clears: whether a model that is not flagged is called clean. A second opinion, whose threshold
            was never calibrated, flags models and clears none: it reports "not evaluable", with a score.
        check: raises ValueError for values of options that make no sense, before anything runs.
    """

    find: Function
    version: int
    about: About
    needs: frozenset[Need] = frozenset()
    takes_samples: bool = False
    per_class: int = 20
    fewest: int = 1
    kinds: frozenset[str] = frozenset({"image"})
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    more: tuple[str, ...] = ()
    files: Mapping[str, Callable[[str | Path], Any]] = field(
        default_factory=dict[str, Callable[[str | Path], Any]]
    )
    clears: bool = True
    check: Callable[[Mapping[str, Any]], None] = any_values

    @property
    def takes(self) -> tuple[str, ...] | None:
        """The names of the options that the function takes; None where it takes any."""
        parameters = inspect.signature(self.find).parameters.values()
        kinds = inspect.Parameter
        if not self.more and any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters):
            return None
        frame = ("classifier", "samples", "level", "seed", "progress", "budget")
        named = [parameter.name for parameter in parameters if parameter.kind is not kinds.VAR_KEYWORD]
        return (*(name for name in named if name not in frame), *self.more)

    @property
    def takes_budget(self) -> bool:
        """Whether the function takes `budget`, the seconds that it may take, and does what fits."""
        return "budget" in inspect.signature(self.find).parameters

    def check_options(self, given: Mapping[str, Any]) -> None:
        """ValueError for an option that the function does not take, or a value that makes no sense."""
        known = self.takes
        for name in given:
            if known is not None and name not in known:
                raise ValueError(unknown("option", name, known))
        self.check({**self.options, **given})

    def opened(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options with what is in the files that some of them name; raises as their readers do."""
        named = [name for name in self.files if isinstance(given.get(name), str | Path)]
        return {**given, **{name: self.files[name](given[name]) for name in named}} if named else given
