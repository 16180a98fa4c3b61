import cv2
import numpy as np
import pytest

from wsc_ray.errors import DataError
from wsc_ray.pixels.images import decode, locate, read_uri

from .cohort import png


def test_decode_gives_rgb():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 0] = 200  # red
    data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert np.array_equal(decode(data), pixels)


@pytest.mark.parametrize(
    "pixels", [np.full((4, 4), 7, np.uint8), np.full((4, 4, 4), 7, np.uint8), np.full((4, 4), 1799, np.uint16)]
)
def test_decode_converts_grey_alpha_and_16_bit(pixels):
    image = decode(cv2.imencode(".png", pixels)[1].tobytes())
    assert image.shape == (4, 4, 3)
    assert image.dtype == np.uint8
    assert (image == 7).all()


def test_decode_refuses_what_is_no_image():
    jpeg = cv2.imencode(".jpg", decode(png(1, 64)))[1].tobytes()
    for data, said in ((b"", "empty"), (b"no image", "cannot be decoded"), (jpeg[: len(jpeg) // 2], "cut short")):
        with pytest.raises(DataError, match=said):
            decode(data)


def test_read_uri_starts_at_the_folder(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"x")
    assert read_uri("a b.png", str(tmp_path)) == b"x"
    assert read_uri(f"{tmp_path}/a b.png", "/elsewhere") == b"x"
    assert read_uri(f"file://{tmp_path}/a b.png", "/elsewhere") == b"x"
    with pytest.raises(DataError, match=r"gone.png cannot be read"):
        read_uri("gone.png", str(tmp_path))


def test_one_filesystem_for_a_bucket():
    first, path = locate("memory://bucket/a/b%20#1.png", "/")
    second, _ = locate("memory://bucket/c.png", "/")
    assert first is second
    assert path == "/bucket/a/b%20#1.png"
