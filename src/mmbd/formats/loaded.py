"""The result of loading a model file: a classifier, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbd.formats.spec import Spec
    from mmbd.model.classifier import Classifier
    from mmbd.model.info import ModelInfo


@dataclass(frozen=True)
class Loaded:
    """A classifier, what is known about its file, and what had to be done to read it.

    `notes` are sentences such as "unwrapped envelope 'net'"; they quote untrusted names, escaped.
    `arch` and `arguments` are what the network was built by, from the file or given; none for a network
    that its file describes itself.

    `claimed` names what is known by the file's own words alone, `doubts` are those among them that
    may not choose a verdict, and `bare` is the network without the bounds on activations that the
    file describes, where it describes any: a scan judges both. `assumed` says what was taken for
    granted of the inputs, as neither the file nor the user said it.
    """

    classifier: Classifier
    model: ModelInfo
    notes: tuple[str, ...]
    arch: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    claimed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    bare: Classifier | None = None
    assumed: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """The description that a file of this classifier carries; ValueError where it cannot be described."""
        from mmbd.formats.spec import Spec

        if not self.arch:
            raise ValueError("its file describes it itself, and no architecture has a name for it")
        return Spec.of(self.classifier, self.arch, self.arguments)
