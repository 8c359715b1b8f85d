"""Inputs as pictures: the pixels that were there, the right size, nothing for odd shapes."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from mmbd.render.pictures import Picture, picture


def pixels(drawn: Picture) -> Image.Image:
    head, data = drawn.uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_colours_follow_the_bounds():
    tensor = torch.tensor([[[-1.0, 1.0]], [[0.0, 1.0]], [[3.0, -7.0]]])  # red, green, blue
    image = pixels(picture(tensor, (-1.0, 1.0), "x"))
    assert image.mode == "RGB"
    assert [image.getpixel((column, 0)) for column in (0, 1)] == [(0, 128, 255), (255, 255, 0)]


def test_grey_images_are_grey_and_rows_are_rows():
    tensor = torch.arange(6.0).reshape(1, 2, 3) / 5
    image = pixels(picture(tensor, (0.0, 1.0), "x"))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 51, 102], [153, 204, 255]]


def test_without_bounds_the_input_s_own_range_is_drawn():
    image = pixels(picture(torch.tensor([[[10.0, 20.0, 15.0]]]), None, "x"))
    assert np.asarray(image).tolist() == [[0, 255, 128]]


@pytest.mark.parametrize(
    ("shape", "large", "stored", "shown"),
    [
        ((3, 32, 32), False, (32, 32), (96, 96)),
        ((3, 32, 32), True, (32, 32), (224, 224)),
        ((1, 28, 28), True, (28, 28), (224, 224)),
        ((1, 28, 28), False, (28, 28), (84, 84)),
        ((3, 224, 224), False, (96, 96), (96, 96)),
        ((3, 224, 224), True, (224, 224), (224, 224)),
        ((3, 480, 640), True, (224, 168), (224, 168)),
        ((3, 1, 4000), False, (96, 1), (96, 1)),
    ],
)
def test_sizes(shape: tuple[int, ...], large: bool, stored: tuple[int, int], shown):
    drawn = picture(torch.rand(shape), (0.0, 1.0), "x", large)
    assert pixels(drawn).size == stored
    assert (drawn.width, drawn.height) == shown
    assert bool(drawn.note) == (stored != (shape[2], shape[1]))


def test_a_sound_is_drawn_as_its_envelope():
    sound = torch.zeros(1, 8000)
    sound[0, 4000:] = torch.tensor([1.0, -1.0]).repeat(2000)
    drawn = picture(sound, (-1.0, 1.0), "a <sound>")
    svg = ElementTree.fromstring(drawn.drawing)
    assert svg.get("aria-label") == "a <sound>"
    (polygon,) = svg.iter("polygon")
    points = [tuple(map(float, point.split(","))) for point in polygon.get("points", "").split()]
    height = float(svg.get("height", ""))
    quiet = [y for x, y in points if x < float(svg.get("width", "")) / 2 - 1]
    loud = [y for x, y in points if x > float(svg.get("width", "")) / 2 + 1]
    assert all(abs(y - height / 2) < 1 for y in quiet)
    assert all(y < 0.5 or y > height - 0.5 for y in loud)


def test_a_short_vector_has_a_bar_an_element():
    svg = ElementTree.fromstring(picture(torch.tensor([0.0, 0.5, 1.0]), (0.0, 1.0), "v").drawing)
    bars = list(svg.iter("rect"))
    half = float(svg.get("height", "")) / 2
    assert [(float(bar.get("y", "")), float(bar.get("height", ""))) for bar in bars] == [
        (half, half),
        (half, 0.5),
        (0, half),
    ]
    long = ElementTree.fromstring(picture(torch.rand(500), (0.0, 1.0), "v").drawing)
    assert list(long.iter("polygon"))


@pytest.mark.parametrize(
    ("tensor", "note"),
    [
        (torch.rand(5, 8, 8), "tensors of shape 5 x 8 x 8 are not drawn"),
        (torch.rand(2, 9), "tensors of shape 2 x 9 are not drawn"),
        (torch.tensor(0.5), "tensors of shape () are not drawn"),
        (torch.zeros(0), "no finite values"),
        (torch.full((3, 4, 4), torch.nan), "no finite values"),
    ],
)
def test_other_shapes_get_a_note(tensor: torch.Tensor, note: str):
    assert picture(tensor, (0.0, 1.0), "x") == Picture("note", note=note)


def test_values_that_are_not_finite_stay_in_the_picture():
    tensor = torch.tensor([[[torch.nan, torch.inf, -torch.inf, 0.5]]])
    assert np.asarray(pixels(picture(tensor, (0.0, 1.0), "x"))).tolist() == [[0, 255, 0, 128]]


def test_gradients_and_half_precision_are_no_obstacle():
    tensor = torch.rand(3, 4, 4, dtype=torch.bfloat16).requires_grad_()
    assert picture(tensor, (0.0, 1.0), "x").kind == "image"
