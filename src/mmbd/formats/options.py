"""What a user may say about a file that the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mmbd.model.domain import Bound

MAX_BYTES = 4 << 30  # far above any classifier; a memory limit, not a judgement


@dataclass(frozen=True)
class LoadOptions:
    """The arguments of `mmbd.load`, which describes them; None is what the user left to the file.

    `formats`, names in `formats.table.FORMATS`, are those that a policy allows; any by default.
    """

    arch: str | Callable[..., nn.Module] | None = None
    arch_args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    input_shape: tuple[int, ...] | None = None
    bounds: tuple[Bound, Bound] | None = None
    mean: Bound | None = None
    std: Bound | None = None
    class_names: tuple[str, ...] | None = None
    device: torch.device | str = "cpu"
    classes: int | None = None
    entry: str | None = None
    max_bytes: int = MAX_BYTES
    output: int | str | None = None
    ends_in: str | None = None
    as_claimed: bool = False
    sandbox: bool | None = None
    formats: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("input_shape", "class_names"):  # lists are welcome
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the options that are not as they are by default."""
        usual = LoadOptions()
        return tuple(each.name for each in fields(self) if not _same(self, usual, each.name))

    def filled(self, **known: Any) -> LoadOptions:
        """These options, and the values in `known` for those that the user left open."""
        return replace(self, **{name: value for name, value in known.items() if name not in self.given})


def _same(one: LoadOptions, other: LoadOptions, name: str) -> bool:
    mine, theirs = getattr(one, name), getattr(other, name)
    return mine is theirs or (type(mine) is type(theirs) and bool(mine == theirs))
