"""A classifier's computation written down, bounds and normalisation included, for `mmbd.formats.export`.

Bounds are no part of a network's code but a watch over its functions (`model.bounded`). A
tracer that goes through the same functions meets them as what they are: a minimum after an
activation. Whatever comes out is compared with the classifier, alone and in a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mmbd.base.errors import NotExported
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text
from mmbd.model.classifier import Classifier
from mmbd.model.normalised import Normalisation, Normalised

POINTS = 4
TOLERANCE = 1e-5  # of the largest logit, or of 1 where that is larger
ACTIVATIONS = "torch.nn.modules.activation"


@dataclass(frozen=True)
class Source:
    """A copy of a classifier's network on the CPU, some inputs, and the classifier's answers.

    Args:
        module: takes raw inputs, or normalised ones.
        points: (POINTS, *shape), what `module` takes.
        logits: (POINTS, classes), what the classifier says of them.
        tolerance: how far other answers may be from those.
    """

    module: Normalised
    points: Tensor
    logits: Tensor
    tolerance: float

    def compare(self, made: Callable[[Tensor], Tensor]) -> None:
        """NotExported where `made` answers otherwise than the classifier."""
        with torch.no_grad():
            alone = torch.cat([made(point) for point in self.points.split(1)])
            together = made(self.points)
        for answers in (alone, together):
            if answers.shape != self.logits.shape:
                raise NotExported(
                    f"the result gives logits of shape {tuple(answers.shape)}, the classifier "
                    f"{tuple(self.logits.shape)}"
                )
            apart = float((answers - self.logits).abs().max())
            if not apart <= self.tolerance:
                raise NotExported(
                    f"the result is {apart:.2g} away from the classifier's logits, which is more "
                    f"than {self.tolerance:.2g}: a network that draws random numbers, or takes "
                    "another path for every input, cannot be written down"
                )


def source_of(classifier: Classifier, normalise: bool = True) -> Source:
    """What there is to be traced; NotExported where the model is no `nn.Module`, or no copy."""
    if not isinstance(classifier.model, nn.Module):
        raise NotExported(
            f"the model is a {type(classifier.model).__name__}; only an nn.Module can be exported"
        )
    if classifier.ends_in is not None:
        raise NotExported(
            f"the network ends in a {classifier.ends_in}, which was undone to get at its logits: "
            "export a network without it"
        )
    try:
        classifier = copy.deepcopy(classifier).to("cpu")
    except Exception as error:  # somebody else's module
        raise NotExported(f"the network cannot be copied: {said(error)}") from error
    assert isinstance(classifier.model, nn.Module)
    network, domain = classifier.model.eval(), classifier.domain
    normalisation = Normalisation(classifier.mean, classifier.std, domain.shape)
    points = torch.stack([domain.sample(generator_for("export", i)) for i in range(POINTS)])
    with torch.no_grad():
        logits = classifier(points)
        if not normalise:
            points = normalisation(points)
            normalisation = Normalisation(None, None, domain.shape)
        module = Normalised(network, normalisation, dtype=classifier.dtype, reading=classifier.reading).eval()
    tolerance = max(TOLERANCE, 4 * torch.finfo(classifier.dtype).eps)
    return Source(module, points, logits, tolerance * max(1.0, float(logits.abs().max())))


class _Tracer(fx.Tracer):
    """Goes into activations, which a watch has to see, and into nothing else of torch's."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m).__module__ == ACTIVATIONS and next(m.children(), None) is None:
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        if node.op != "get_attr" or not isinstance(node.target, str):
            return super().proxy(node)
        module, _, name = node.target.rpartition(".")
        kept = self.root.get_submodule(module)
        return _Buffer(node, self, dict(kept.named_buffers(recurse=False)).get(name))


class _Buffer(fx.Proxy):
    """Stands for a buffer, and knows how many axes it has: bounds by place are told so from others."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, buffer: Tensor | None) -> None:
        super().__init__(node, tracer)
        self.axes = None if buffer is None else buffer.dim()

    def dim(self) -> Any:
        return self.__getattr__("dim")() if self.axes is None else self.axes


def traced(source: Source) -> nn.Module:
    """The network as torch.fx sees it, its layers as they are and under their own names."""
    return _module(source.module, _Tracer().trace(source.module))


def flattened(source: Source) -> nn.Module:
    """The network as torch.export sees it: no layers, but elementary operations."""
    root: Any = program(source).module()
    for node in list(root.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            root.graph.erase_node(node)  # checks that cannot be pickled
    return _module(root, root.graph)


def _module(root: nn.Module, graph: fx.Graph) -> nn.Module:
    """A module of this computation that remembers nothing of how it was made."""
    bare = fx.Graph()
    output = bare.graph_copy(graph, {})
    bare.output(output[0] if isinstance(output, tuple | list) else output)
    for node in bare.nodes:
        node.type = None  # annotations, which would be imported again with the pickle
    return fx.GraphModule(root, bare).eval()


def program(source: Source) -> torch.export.ExportedProgram:
    """The network as torch.export sees it, for batches of any size.

    Raises:
        NotExported: it has branches that depend on values, or on the size of the batch.
    """
    sizes = ({0: torch.export.Dim("batch")},)
    try:
        with torch.no_grad():
            made = torch.export.export(source.module, (source.points,), dynamic_shapes=sizes, strict=False)
    except Exception as error:  # somebody else's code: anything may come
        raise NotExported(f"torch.export cannot follow the network: {said(error)}") from error
    for part in made.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths of this machine
    return made


def said(error: BaseException) -> str:
    """An error in one line."""
    line = next(iter(str(error).strip().splitlines()), "")
    return clean_text(line if isinstance(error, NotExported) else f"{type(error).__name__}: {line}", 300)
