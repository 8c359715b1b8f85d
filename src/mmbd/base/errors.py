"""What can go wrong, as kinds that the command line turns into exit codes."""

from __future__ import annotations


class MmbdError(ValueError):
    """Any of the errors below; what else is raised for bad input is a plain ValueError or OSError."""


class NotEvaluable(MmbdError):
    """The model cannot be judged: the output is not logits, no gradient, not finite (exit 3)."""


class TooFewInputs(NotEvaluable):
    """The model makes too few inputs for itself, or of too few classes, to try changes on."""


class Refused(MmbdError):
    """The file would have to be executed to be read, or is not a safe format (exit 3)."""


class Failed(MmbdError):
    """The file is broken, or does not fit the architecture or the inputs given (exit 2)."""


class NotMitigated(MmbdError):
    """Nothing was repaired, and why."""


class NotExported(Failed):
    """The classifier has no such form, why, and what to do instead."""
