"""Every layer class of Keras that is known: a new one is a function in its family's file, and a row there."""

from __future__ import annotations

from mmbd.formats.keras.layers import (
    activations,
    attention,
    convolution,
    dense,
    merge,
    normalisation,
    operations,
    pooling,
    preprocessing,
    recurrent,
    shape,
    wrappers,
)
from mmbd.formats.keras.layers.making import Row

LAYERS: dict[str, Row] = {
    **dense.ROWS,
    **convolution.ROWS,
    **pooling.ROWS,
    **normalisation.ROWS,
    **activations.ROWS,
    **shape.ROWS,
    **merge.ROWS,
    **recurrent.ROWS,
    **attention.ROWS,
    **preprocessing.ROWS,
    **wrappers.ROWS,
}
OPERATIONS = operations.OPERATIONS
