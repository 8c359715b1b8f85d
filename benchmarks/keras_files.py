"""The models of Keras in `tests/formats/keras_files`, with what Keras answers; and parity with larger ones.

    python -m benchmarks.keras_files                   writes the files and expected.npz
    python -m benchmarks.keras_files MobileNetV2 ...   compares networks of keras.applications, random weights

Keras runs on torch here (`pip install keras`); mmbd itself never imports it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp())  # where Keras would write settings of its own

import keras
import numpy as np
import torch
from keras import Model, Sequential
from keras import layers as k

from mmbd.formats.keras import files, graph
from mmbd.formats.keras.layers import activations
from mmbd.formats.options import LoadOptions

FOLDER = Path(__file__).parents[1] / "tests/formats/keras_files"
HDF5 = ("cnn", "residual", "recurrent", "attention", "nested", "named")  # saved in the older form as well
OURS = ("gelu_tanh", "hard_sigmoid2")  # names that Keras 3 does not have
FUNCTIONS = [name for name in activations.FUNCTIONS if name not in OURS]
FUNCTIONS += list(activations.ALONG)


def chain(shape: tuple[int, ...], *layers: Any) -> Any:
    return Sequential([k.Input(shape), *layers])


def cnn() -> Any:
    return chain(
        (12, 12, 3),
        k.Rescaling(1 / 255.0),
        k.RandomFlip(),
        k.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        k.BatchNormalization(),
        k.SeparableConv2D(6, 3, padding="same", strides=2),
        k.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        k.LeakyReLU(),
        k.MaxPooling2D(2, padding="same"),
        k.Flatten(),
        k.Dropout(0.3),
        k.Dense(5, activation="softmax"),
    )


def residual() -> Any:
    """Branches, a shared layer, squeeze and excitation, a model in a model."""
    start = k.Input((11, 9, 3))
    x = k.BatchNormalization(scale=False)(k.Conv2D(4, 3, padding="same", strides=2, use_bias=False)(start))
    y = k.ReLU(max_value=6.0)(x)
    shared = k.Conv2D(4, 1)
    z = k.Concatenate()([k.Add()([shared(x), shared(y)]), y])
    z = k.Multiply()([z, k.Dense(8, activation="sigmoid")(k.GlobalAveragePooling2D(keepdims=True)(z))])
    inner = Sequential(
        [k.Input((6, 5, 8)), k.Conv2D(5, 3, activation="swish"), k.Dropout(0.2), k.BatchNormalization()],
        name="inner",
    )
    return Model(start, k.Activation("softmax")(k.Dense(6)(k.GlobalMaxPooling2D()(inner(z)))))


def recurrent() -> Any:
    start = k.Input((7, 4))
    x = k.Bidirectional(k.LSTM(3, return_sequences=True))(start)
    x = k.GRU(5, return_sequences=True)(x)
    x = k.GRU(4, reset_after=False, go_backwards=True, return_sequences=True)(x)
    x = k.TimeDistributed(k.Dense(4, activation="tanh"))(x)
    x = k.Bidirectional(k.SimpleRNN(3), merge_mode="ave")(x)
    return Model(start, k.Dense(4, activation="softmax")(x))


def attention() -> Any:
    """A block of a vision transformer, with functions that were called on tensors."""
    start = k.Input((8, 8, 3))
    x = k.Reshape((16, 8))(k.Conv2D(8, 2, strides=2)(start))
    y = k.LayerNormalization(epsilon=1e-6)(x)
    x = k.Add()([x, k.MultiHeadAttention(2, 3, dropout=0.1)(y, y)])
    y = k.Dense(16, activation="gelu")(k.LayerNormalization()(x))
    x = x + k.Dense(8)(y) * 0.5
    return Model(start, k.Dense(3, activation="softmax")(k.GlobalAveragePooling1D()(x)))


def one() -> Any:
    return chain(
        (32, 2),
        k.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="elu"),
        k.ZeroPadding1D(2),
        k.AveragePooling1D(3, 2, padding="same"),
        k.SeparableConv1D(5, 3, strides=2, padding="same"),
        k.UpSampling1D(2),
        k.Cropping1D((1, 2)),
        k.PReLU(),
        k.Conv1DTranspose(4, 4, strides=2, padding="same"),
        k.GlobalAveragePooling1D(),
        k.Dense(3),
    )


def three() -> Any:
    return chain(
        (6, 6, 6, 2),
        k.Conv3D(4, 3, padding="same", strides=2),
        k.ReLU(negative_slope=0.1, max_value=6.0),
        k.MaxPooling3D(2, padding="same"),
        k.Conv3DTranspose(3, 3, strides=2),
        k.GroupNormalization(3),
        k.ZeroPadding3D(1),
        k.GlobalMaxPooling3D(),
        k.Dense(4, activation="sigmoid"),
    )


def shapes() -> Any:
    start = k.Input((10, 10, 4))
    x = k.Conv2DTranspose(6, 3, strides=2, padding="same")(start)
    x = k.Conv2DTranspose(4, 2, strides=3)(x)
    x = k.UnitNormalization()(k.AveragePooling2D(3, 2, padding="same")(x))
    x = k.Cropping2D(((0, 1), (2, 1)))(k.ZeroPadding2D(((1, 2), (0, 3)))(x))
    x = k.Resizing(9, 7)(k.UpSampling2D((2, 1), interpolation="bilinear")(x))
    x = k.PReLU(shared_axes=[1, 2])(k.Permute((2, 1, 3))(k.CenterCrop(6, 5)(x)))
    x = k.Flatten()(k.Softmax()(k.Conv2D(8, 3, groups=4, dilation_rate=2)(x)))
    a, b = k.Dense(5, activation="selu")(x), k.Dense(5, activation="hard_sigmoid")(x)
    x = k.Subtract()([k.Maximum()([k.Average()([a, b]), b]), a])
    x = k.RepeatVector(3)(x)
    return Model(start, k.Dense(3)(k.Flatten()(k.Dot(axes=(2, 2))([x, x]))))


def windows() -> Any:
    return chain(
        (9, 10, 2),
        k.Conv2DTranspose(3, 5, strides=2, padding="same", output_padding=1),
        k.Conv2DTranspose(3, 2, strides=3, padding="same"),
        k.Conv2DTranspose(3, 3, strides=2, output_padding=1),
        k.MaxPooling2D((3, 2), (4, 3)),
        k.Rescaling([0.5, 2.0, 1.0], [0.0, 1.0, 2.0]),
        k.LayerNormalization(axis=[2, 3]),
        k.BatchNormalization(axis=2),
        k.UpSampling2D(3),
        k.Resizing(11, 12, interpolation="nearest"),
        k.GlobalMaxPooling2D(keepdims=True),
        k.Flatten(),
        k.Normalization(),
        k.Dense(3),
    )


def binary() -> Any:
    return chain(
        (8, 8, 3),
        k.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.1, 0.2, 0.3]),
        k.Conv2D(3, 3, activation="relu6"),
        k.GlobalAveragePooling2D(),
        k.Dense(1, activation="sigmoid"),
    )


def nested() -> Any:
    """A frozen model in a Sequential, with a Sequential behind it."""
    start = k.Input((8, 8, 3))
    base = Model(start, k.ReLU()(k.BatchNormalization()(k.Conv2D(4, 3)(start))), name="base")
    base.trainable = False
    head = Sequential([k.Dense(6, activation="mish"), k.Dense(4, activation="softmax")])
    return Sequential([base, k.AveragePooling2D(6), k.Flatten(), head])


def first() -> Any:
    """The channels before the places."""
    return chain(
        (3, 9, 9),
        k.ZeroPadding2D(1, data_format="channels_first"),
        k.Conv2D(4, 3, strides=2, padding="same", data_format="channels_first"),
        k.BatchNormalization(axis=1),
        k.ReLU(),
        k.AveragePooling2D(2, padding="same", data_format="channels_first"),
        k.Flatten(data_format="channels_first"),
        k.Dense(3),
    )


def several() -> Any:
    start = k.Input((6, 6, 3))
    x = k.Flatten()(start)
    return Model(start, [k.Dense(3, activation="softmax", name="a")(x), k.Dense(4, name="b")(x)])


def functions() -> Any:
    start = k.Input((12,))
    x = k.Dense(6)(start)
    found = [k.Activation(name)(x) for name in FUNCTIONS]
    found += [k.ReLU(threshold=0.1)(x), k.ReLU(threshold=0.1, negative_slope=0.2)(x), k.ELU(0.3)(x)]
    return Model(start, k.Dense(4)(k.Concatenate()(found)))


def named() -> Any:
    """Tensors by name, in another order than the layer has."""
    start = k.Input((5, 6))
    query, key, value = k.Dense(4)(start), k.Dense(4)(start), k.Dense(3)(start)
    a = k.MultiHeadAttention(2, 3, value_dim=5)(key=key, value=value, query=query, use_causal_mask=True)
    x = k.Concatenate()([a, k.Attention(use_scale=True)([query, key])])
    return Model(start, k.Dense(3)(k.LSTM(4, activation="relu", use_bias=False)(x)))


SHAPES = (cnn, residual, recurrent, attention, one, three, shapes, windows, binary, nested, first)
MODELS: dict[str, Callable[[], Any]] = {make.__name__: make for make in (*SHAPES, several, functions, named)}


def fill(model: Any, seed: int = 0) -> None:
    """Random weights, and statistics of norms that are none of those that they start with."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        scale = 0.4 if len(weight.shape) < 2 else 1 / np.sqrt(np.prod(weight.shape[:-1]))
        values = generator.normal(size=weight.shape) * scale
        if "variance" in weight.path or "gamma" in weight.path:
            values = np.abs(values) + 0.5
        weight.assign(values.astype("float32"))


def answers(model: Any, inputs: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        found = model(inputs, training=False)
    found = found if isinstance(found, list | tuple) else [found]
    return [keras.ops.convert_to_numpy(each) for each in found]


def deflated(path: Path) -> None:
    """Pack an archive, so that the repository stays small."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def write() -> None:
    expected: dict[str, np.ndarray] = {}
    for name, make in MODELS.items():
        keras.utils.clear_session()
        model = make()
        fill(model)
        inputs = np.random.default_rng(1).random((2, *model.input_shape[1:])).astype("float32")
        inputs *= 255 if name == "cnn" else 3  # so that the answers tell the two apart
        expected[f"{name}/inputs"] = inputs
        expected |= {f"{name}/{number}": each for number, each in enumerate(answers(model, inputs))}
        model.save(FOLDER / f"{name}.keras")
        deflated(FOLDER / f"{name}.keras")
        if name in HDF5:
            model.save(FOLDER / f"{name}.h5")
    np.savez_compressed(FOLDER / "expected.npz", **expected)


def compare(names: list[str], folder: Path) -> None:
    for name in names:
        model = getattr(keras.applications, name)(input_shape=(96, 96, 3), weights=None, classes=10)
        inputs = np.random.default_rng(1).random((2, 96, 96, 3)).astype("float32")
        path = folder / f"{name}.keras"
        model.save(path)
        network = graph.build(files.read_archive(path.read_bytes()), LoadOptions()).module
        with torch.no_grad():
            found = network(torch.from_numpy(inputs).movedim(-1, 1)).softmax(-1).numpy()
        print(f"{name:20} {np.abs(found - answers(model, inputs)[0]).max():.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("applications", nargs="*", help="of keras.applications, to compare answers of")
    chosen = parser.parse_args().applications
    if not chosen:
        write()
        return
    with tempfile.TemporaryDirectory() as place:
        compare(chosen, Path(place))


if __name__ == "__main__":
    main()
