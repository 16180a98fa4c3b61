"""Every mode that image files have: what Pillow shows, or a sentence."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.pixels.files import encode, picture, png, tiff_header
from wsc_ray.errors import DataError
from wsc_ray.pixels import decode

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")
REFUSED = ("CMYK", "LAB", "I", "F")


def in_mode(mode: str) -> Image.Image:
    """The picture in a mode, with an alpha that differs from px to px where the mode has one."""
    image = Image.fromarray(picture())
    alpha = Image.fromarray(picture()[..., 2])
    if mode == "I;16":
        return Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    if mode == "RGBX":
        return image.convert("RGBX")
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, picture().tobytes())
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = image.convert("L" if mode in ("LA", "La") else "RGB")
        if mode == "PA":
            image = image.quantize(16).convert("PA")
        image.putalpha(alpha)
        return image.convert(mode) if mode in ("La", "RGBa") else image
    return image.convert(mode)


def written() -> list:
    """What Pillow writes: format, mode, mode that the file then has, its bytes."""
    found = []
    for name in FORMATS:
        for mode in MODES:
            options = {"lossless": True} if name == "WEBP" else {}
            try:
                data = encode(in_mode(mode), name, **options)
            except (OSError, KeyError, ValueError):
                continue
            found.append(pytest.param(name, Image.open(io.BytesIO(data)).mode, data, id=f"{name}-{mode}"))
    return found


def shown(data: bytes) -> np.ndarray:
    """What Pillow shows of it: (h, w, 3) uint8."""
    image = Image.open(io.BytesIO(data))
    if image.mode == "I;16":
        return np.dstack([np.asarray(image) >> 8] * 3).astype(np.uint8)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("name", "mode", "data"), written())
def test_what_pillow_writes_is_what_pillow_shows(name, mode, data):
    if mode in REFUSED:
        with pytest.raises(DataError, match=r"^the (image|TIFF) .*; save it (as RGB|with 8 bits a channel)$"):
            decode(data)
        return
    image, expected = decode(data), shown(data)
    assert (image.dtype, image.flags.c_contiguous) == (np.uint8, True)
    if Image.open(io.BytesIO(data)).has_transparency_data:  # halves are rounded, here down and there to the nearest
        np.testing.assert_allclose(image.astype(int), expected, atol=1)
    else:
        np.testing.assert_array_equal(image, expected)


def test_the_modes_that_matter_are_among_them():
    have = {(param.values[0], param.values[1]) for param in written()}
    assert have >= {(name, mode) for name in ("PNG", "TIFF") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    assert have >= {("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "LAB"), ("TIFF", "F"), ("WEBP", "RGBA"), ("BMP", "P")}


@settings(max_examples=40, deadline=None)
@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))))
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_transparent_px_are_laid_on_white(name, pixels):
    data = encode(Image.fromarray(pixels), name, **({"lossless": True, "exact": True} if name == "WEBP" else {}))
    colour, alpha = pixels[..., :3].astype(int), pixels[..., 3:].astype(int)
    np.testing.assert_array_equal(decode(data), colour * alpha // 255 + 255 - alpha)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bits=st.sampled_from([1, 2, 4, 8]), transparent=st.booleans(), palette=st.booleans())
def test_grey_and_palettes_of_any_bits(data, bits, transparent, palette):
    top = 2**bits - 1
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    values = data.draw(arrays(np.uint8, shape, elements=st.integers(0, top)))
    key = data.draw(st.integers(0, top))
    chunks = []
    if palette:
        colours = data.draw(arrays(np.uint8, (top + 1, 3)))
        chunks.append((b"PLTE", colours.tobytes()))
        if transparent:
            chunks.append((b"tRNS", bytes(key * [255] + [0])))
        expected = colours[values]
    else:
        if transparent:
            chunks.append((b"tRNS", struct.pack(">H", key)))
        expected = np.dstack([values * (255 // top)] * 3)
    if transparent:
        expected[values == key] = 255
    np.testing.assert_array_equal(decode(png(values, bits, 3 if palette else 0, *chunks)), expected)


def test_one_transparent_colour():
    data = encode(Image.fromarray(picture()), "PNG", transparency=tuple(picture()[3, 4].tolist()))
    expected = picture()
    expected[3, 4] = 255
    np.testing.assert_array_equal(decode(data), expected)


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def deep(channels: int, bits: int) -> np.ndarray:
    """The picture with `bits` bits in uint16: (h, w) or (h, w, channels), a fourth one fully seen."""
    pixels = picture().astype(np.uint16) << (bits - 8) | 5
    pixels = np.dstack([pixels, np.full(pixels.shape[:2], 65535, np.uint16)])[..., :channels]
    return pixels[..., 0] if channels == 1 else pixels


DEEP = {
    "PNG-grey": lambda bits: png(deep(1, bits), 16, 0),
    "PNG-RGB": lambda bits: png(deep(3, bits), 16, 2),
    "PNG-RGBA": lambda bits: png(deep(4, bits), 16, 6),
    "TIFF-grey": lambda bits: tiff(deep(1, bits)),
    "TIFF-RGB": lambda bits: tiff(deep(3, bits), photometric="rgb"),
    "TIFF-RGBA": lambda bits: tiff(deep(4, bits), photometric="rgb", extrasamples=["unassalpha"]),
    "TIFF-big-endian": lambda bits: tiff(deep(1, bits).astype(">u2"), byteorder=">"),
    "JPEG2000-grey": lambda bits: encode(Image.fromarray(deep(1, bits)), "JPEG2000"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_the_upper_8_of_16_bits(kind):
    expected = picture()[..., [0, 0, 0]] if "grey" in kind or "endian" in kind else picture()
    np.testing.assert_array_equal(decode(DEEP[kind](16)), expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", DEEP)
def test_16_bits_of_which_few_are_used_are_refused(kind, bits):
    with pytest.raises(DataError, match=rf"uses {bits} of them, so that it would be nearly black; save it with 8 bits"):
        decode(DEEP[kind](bits))


def test_black_is_black_with_16_bits_too():
    assert not decode(png(np.zeros((3, 3, 3), np.uint16), 16, 2)).any()


@pytest.mark.parametrize(
    ("pixels", "options", "said"),
    [
        (np.ones((16, 16), np.float32), {}, "floating-point"),
        (np.ones((16, 16, 3), np.float32), {"photometric": "rgb"}, "is not read; save it with 8 bits a channel"),
        (np.ones((16, 16), np.float64), {}, "is not read; save it with 8 bits a channel"),
        (np.ones((16, 16), np.int8), {}, "signed"),
        (np.ones((16, 16), np.int16), {}, "signed"),
        (np.ones((16, 16), np.uint32), {}, "32-bit numbers"),
        (np.ones((16, 16), np.uint16), {"photometric": "miniswhite"}, "0 is white"),
        (np.ones((3, 16, 16), np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, "separate planes"),
    ],
)
def test_numbers_that_are_no_colours_are_refused(pixels, options, said):
    with pytest.raises(DataError, match=said):
        decode(tiff(pixels, **options))


def test_tiffs_of_8_bits():
    pixels = picture()
    grey = pixels[..., 0]
    np.testing.assert_array_equal(decode(tiff(grey, photometric="miniswhite")), np.dstack([255 - grey] * 3))
    planes = tiff(np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(decode(planes), pixels)
    np.testing.assert_array_equal(decode(tiff(pixels, photometric="rgb", bigtiff=True, compression="zlib")), pixels)
    alpha = np.dstack([pixels // 2, np.full(grey.shape, 128, np.uint8)])  # premultiplied
    seen = decode(tiff(alpha, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_allclose(seen.astype(int), pixels // 2 + 127, atol=2)


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_image_that_viewers_turn_is_refused(name, turn):
    image, exif = Image.fromarray(picture()), Image.Exif()
    exif[0x0112] = turn
    with pytest.raises(DataError, match=rf"turned or mirrored \(orientation {turn}\); save it upright"):
        decode(encode(image, name, exif=exif))


def test_exif_that_turns_nothing_changes_nothing():
    image = Image.fromarray(picture())
    for tags in ({0x0112: 1}, {0x0112: 0}, {0x010F: "a scanner"}):
        exif = Image.Exif()
        exif.update(tags)
        for name, options in (("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True})):
            np.testing.assert_array_equal(
                decode(encode(image, name, exif=exif, **options)), decode(encode(image, name, **options))
            )
    damaged = encode(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(damaged), decode(encode(image, "JPEG")))


def test_exif_behind_the_pixels_of_a_png():
    image, exif = Image.fromarray(picture()), Image.Exif()
    exif[0x0112] = 6
    plain, turned = encode(image, "PNG"), encode(image, "PNG", exif=exif)
    chunk = turned[turned.index(b"eXIf") - 4 :]
    chunk = chunk[: 12 + int.from_bytes(chunk[:4], "big")]
    end = plain.index(b"IEND") - 4
    with pytest.raises(DataError, match="orientation 6"):
        decode(plain[:end] + chunk + plain[end:])


@pytest.mark.parametrize("name", ["TIFF", "GIF", "WEBP", "PNG"])
def test_several_pictures_in_a_file_are_refused(name):
    frames = [Image.fromarray(picture() ^ np.uint8(mask)) for mask in (0, 99, 255)]
    with pytest.raises(DataError, match="holds 3 pictures, and a patch is one"):
        decode(encode(frames[0], name, save_all=True, append_images=frames[1:]))


def huge(name: str) -> bytes:
    """A small file whose header claims more than any patch has."""
    data = bytearray(encode(Image.fromarray(picture()), name, **({"lossless": True} if name == "WEBP" else {})))
    if name == "PNG":
        return png(np.zeros((1, 1), np.uint8), 8, 0).replace(struct.pack(">II", 1, 1), struct.pack(">II", 60000, 60000))
    if name == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    elif name == "BMP":
        data[18:26] = struct.pack("<ii", 60000, 60000)
    elif name == "GIF":
        data[6:10] = struct.pack("<HH", 60000, 60000)
    elif name == "WEBP":
        data[21:25] = struct.pack("<I", 16382 | 16382 << 14)  # 14 bits for each side, and the rest of the word 0
    elif name == "TIFF":
        return tiff_header(60000, 60000)
    return bytes(data)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_header_that_claims_too_much_is_refused(name):
    assert len(huge(name)) < 4000
    with pytest.raises(
        DataError, match=r"(60,000 x 60,000 px, and a|larger than a) patch.* may have 67,108,864 px at most"
    ):
        decode(huge(name))
    with pytest.raises(DataError, match="8,193 x 8,192 px, and a patch may have 67,108,864 px at most"):
        decode(tiff_header(8193, 8192))


def test_jpegs_of_rare_kinds():
    image = Image.fromarray(picture(64, 48))
    plain = encode(image, "JPEG", quality=95)
    for options in ({"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}):
        data = encode(image, "JPEG", quality=95, **options)
        np.testing.assert_array_equal(decode(data), shown(data))
    stray = plain[:-2] + b"\x11\x22" + plain[-2:]  # before the last marker: every viewer shows it
    np.testing.assert_array_equal(decode(stray), decode(plain))
    at = plain.index(b"\xff\xda") + 200
    with pytest.raises(DataError, match="the image is damaged: Corrupt JPEG data"):
        decode(plain[:at] + b"\xff\xd9")


@settings(max_examples=40, deadline=None)
@given(
    pixels=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    quality=st.integers(30, 100),
)
def test_common_jpeg_and_png_are_what_opencv_gives(pixels, quality):
    image = Image.fromarray(pixels)
    for data in (encode(image, "JPEG", quality=quality), encode(image, "PNG")):
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(decode(data), expected)
        np.testing.assert_array_equal(decode(memoryview(data)), expected)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(FORMATS))
def test_damage_is_a_sentence_or_a_picture(data, name):
    whole = bytearray(encode(Image.fromarray(picture()), name))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        image = decode(cut)
    except DataError as error:
        said = str(error)
        image = None
    assert "\n" not in said if image is None else (image.shape[2:], image.dtype) == ((3,), np.uint8)
