"""Photos under their heat."""

import io

import numpy as np
from PIL import Image

from model.pictures import overlay, overlay_png


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
