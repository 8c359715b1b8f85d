"""How far the searches of one seed are, and how long the rest will take."""

from __future__ import annotations

import time
from typing import Literal

from mmbd.base.progress import Progress, ProgressCallback
from mmbd.detectors.mm_bd.budget import UNIVERSAL
from mmbd.model.classifier import Classifier
from mmbd.search.ascent import FAST, Ascent
from mmbd.search.marks import Marks, marks_evaluations
from mmbd.search.marks_on_samples import OnSamples, evaluations_on_samples
from mmbd.search.maximum_margins import MaximumMargins
from mmbd.search.race import Race
from mmbd.search.universal_data_free import UniversalGains, universal_evaluations

MARKS, SAMPLES = "windows and universal perturbations", "windows and warps of clean samples"


class Meter:
    """Tells how far the searches of one seed are, by gradient evaluations.

    Args:
        classifier: what is searched.
        progress: called after every step.
        ascent: of the search for margins.
        beside: whether gains of universal perturbations are searched for, too, or marks.
        default_too: whether the default search is run beside.
        race: how few classes are searched to the end; None for all.
        classes: how many classes are searched; all by default.
        samples: whether clean samples are searched on, too.
    """

    def __init__(
        self,
        classifier: Classifier,
        progress: ProgressCallback | None,
        ascent: Ascent,
        *,
        beside: Literal["gains", "marks"] | None,
        default_too: bool,
        race: Race | None = None,
        classes: int | None = None,
        samples: bool = False,
    ) -> None:
        self.classes, self.progress = classes or classifier.classes, progress
        self.expected = self.classes * default_too * FAST.restarts * FAST.steps
        self.expected += (race.margins if race else self.classes) * ascent.restarts * ascent.steps
        # Of all, those for universal perturbations, which take longer than the others.
        self.universal_expected = 0
        if beside is not None:
            count = {"gains": universal_evaluations, "marks": marks_evaluations}[beside]
            self.universal_expected = count(race.gains if race else self.classes)
        self.samples_expected = 0
        if samples:
            self.samples_expected = evaluations_on_samples(race.gains if race else self.classes)
            self.universal_expected += self.samples_expected
        if race is not None:
            self.expected += race.quick_evaluations(self.classes)
        self.expected += self.universal_expected
        self.evaluations = 0
        self.start = time.perf_counter()

    def add(self, part: MaximumMargins | UniversalGains | Marks | OnSamples) -> None:
        """A search has ended."""
        self.evaluations += part.evaluations
        if isinstance(part, MaximumMargins):
            searched = int((~part.margins.isnan().all(1)).sum())
            most = searched * part.ascent.restarts * part.ascent.steps
            self.expected -= max(0, most - part.evaluations)
        if isinstance(part, Marks):
            spared = max(0, self.universal_expected - self.samples_expected - part.evaluations)
            self.expected -= spared
            self.universal_expected -= spared
            self._tell(MARKS, 0, "", universal=part.evaluations)

    def margins(self, step: Progress) -> None:
        """A step of a search for margins."""
        self._tell(step.stage, step.done, step.note)

    def universal(self, classes_done: int, evaluations: int) -> None:
        """So many classes have had their universal perturbations."""
        note = f"{classes_done} of {self.classes} classes"
        self._tell("universal perturbations", evaluations, note, universal=evaluations)

    def marks(self, evaluations: int) -> None:
        """So many evaluations were spent on windows and universal perturbations."""
        self._tell(MARKS, evaluations, "", universal=evaluations)

    def samples(self, evaluations: int) -> None:
        """So many evaluations were spent on clean samples."""
        self._tell(SAMPLES, evaluations, "", universal=evaluations)

    def harder(self, evaluations: int) -> None:
        """A step of what no estimate knows before: classes that are searched harder."""
        self._tell("classes without a gradient", evaluations, "")

    def _tell(self, stage: str, evaluations: int, note: str, universal: int = 0) -> None:
        if self.progress is None:
            return
        done, seconds = self.evaluations + evaluations, time.perf_counter() - self.start
        total = max(self.expected, done)
        more = UNIVERSAL - 1
        spent = done + more * universal
        rest = total - done + more * max(0, self.universal_expected - universal)
        left = seconds * rest / max(spent, 1)
        self.progress(Progress(stage, done, total, "gradient evaluations", seconds, note, left=left))
