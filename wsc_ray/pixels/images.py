"""A patch's pixels: from bytes or a URI to an array."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import simplejpeg
from pyarrow import fs

from wsc_ray import storage
from wsc_ray.errors import DataError

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION  # a patch is as it was cut: no EXIF turn


def decode(data: bytes | memoryview) -> np.ndarray:
    """The image in an encoded file, (h, w, 3) uint8, RGB; grey, alpha and 16-bit images are converted.

    Raises:
        DataError: empty, cut short, or of a format that OpenCV does not read.
    """
    if len(data) == 0:
        raise DataError("the image is empty (0 bytes)")
    try:
        image = _decode_jpeg(data) if simplejpeg.is_jpeg(data) else None
        if image is None:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error as error:
        raise DataError(f"the image cannot be decoded: {error.err}") from None
    if image is None:
        raise DataError(f"the image cannot be decoded: its {len(data):,} bytes are cut short or no known format")
    return image


def _decode_jpeg(data: bytes | memoryview) -> np.ndarray | None:
    """A JPEG by turbo JPEG directly, the same bytes as OpenCV gives and some 20% sooner; None where it is damaged."""
    try:
        return simplejpeg.decode_jpeg(data)
    except ValueError:
        return None


def read_uri(uri: str, folder: str) -> bytes:
    """The bytes of an image file.

    Args:
        uri: a path or URI; relative to `folder` where it has neither a scheme nor a leading slash.
        folder: a path or URI.

    Raises:
        DataError: it is missing or cannot be read.
    """
    filesystem, path = locate(uri, folder)
    try:
        with filesystem.open_input_file(path) as file:
            return file.readall()
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {_reason(error)}") from None


def locate(uri: str, folder: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and path of an image; a filesystem is made once for each host or bucket, not for each image."""
    if "://" in uri:
        root, path = _split(uri)
    elif uri.startswith("/"):
        root, path = "/", uri[1:]
    else:
        root, path = folder, uri
    filesystem, prefix = _root(root)
    return filesystem, f"{prefix.rstrip('/')}/{path}"


def image_bytes(manifest: Any, patch: Mapping[str, Any]) -> bytes:
    """The encoded image of a patch.

    Args:
        manifest: the `Manifest` it is of: relative URIs start at its folder.
        patch: a row with `image` or `image_uri`.

    Raises:
        DataError: the row has neither, or the file cannot be read.
    """
    if patch.get("image") is not None:
        return patch["image"]
    if patch.get("image_uri") is not None:
        return read_uri(patch["image_uri"], manifest.folder)
    if patch.get("slide_uri") is not None:
        raise DataError(
            f"the patch is a region of {patch['slide_uri']}, and reading regions of slides is not supported yet"
        )
    raise DataError("the patch has no pixels: image, image_uri and slide_uri are all null or not read")


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{query}", parts.path.lstrip("/")


@lru_cache(maxsize=64)
def _root(uri: str) -> tuple[fs.FileSystem, str]:
    return storage.filesystem(uri)


def _reason(error: OSError) -> str:
    return error.strerror or str(error).splitlines()[0]
