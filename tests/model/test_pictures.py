"""Photos as people look at them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from model.pictures import fitted, jpeg_url, overlay, overlay_png


def test_overlay_is_blue_where_it_is_cold_and_red_where_it_is_hot() -> None:
    heatmap = np.array([[0, 1], [0, 1]], np.float32)
    png = overlay_png(np.full((64, 64, 3), 128, np.uint8), heatmap)
    picture = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    assert picture.shape == (64, 64, 3)
    (red, _, blue), (hot_red, _, hot_blue) = picture[32, 0], picture[32, 63]
    assert blue > red
    assert hot_red > hot_blue


def test_the_heat_takes_the_photos_proportions() -> None:
    heatmap = np.array([[0, 1]], np.float32)
    photo = np.full((30, 80, 3), 128, np.uint8)
    laid = overlay(photo, heatmap).astype(int)
    assert laid.shape == photo.shape
    assert laid[15, 0, 2] > laid[15, 0, 0]
    assert laid[15, 79, 0] > laid[15, 79, 2]
    assert (photo == 128).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 50), (40, 20)), ((10, 20), (20, 40)), ((1, 2000), (1, 40)), ((40, 40), (40, 40))],
)
def test_the_longer_side_is_as_asked(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(np.zeros((*shape, 3), np.uint8), 40).shape == (*expected, 3)


def test_a_photo_in_a_page_is_the_photo() -> None:
    photo = np.full((30, 50, 3), (200, 100, 50), np.uint8)
    kind, content = jpeg_url(photo).split(",")
    assert kind == "data:image/jpeg;base64"
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)
    assert np.abs(back - photo).max() <= 3
