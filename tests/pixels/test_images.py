import cv2
import numpy as np
import pytest

from tests.manifest.cohort import png
from wsc_ray.errors import DataError
from wsc_ray.pixels import decode


def test_decode_gives_rgb():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 0] = 200  # red
    data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert np.array_equal(decode(data), pixels)


def test_decode_refuses_what_is_no_image():
    jpeg = cv2.imencode(".jpg", decode(png(1, 64)))[1].tobytes()
    for data, said in ((b"", "empty"), (b"no image", "cannot be decoded"), (jpeg[: len(jpeg) // 2], "cut short")):
        with pytest.raises(DataError, match=said):
            decode(data)
