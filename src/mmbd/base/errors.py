"""What can go wrong, as three kinds that the command line turns into exit codes."""

from __future__ import annotations


class NotEvaluable(ValueError):
    """The model cannot be judged: the output is not logits, no gradient, not finite (exit 3)."""


class Refused(ValueError):
    """The file would have to be executed to be read, or is not a safe format (exit 3)."""


class Failed(ValueError):
    """The file is broken, or does not fit the architecture or the inputs given (exit 2)."""


class NotMitigated(ValueError):
    """Nothing was repaired, and why."""


class NotExported(Failed):
    """The classifier has no such form, why, and what to do instead."""
