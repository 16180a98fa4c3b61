"""Slides whose tiles are JPEGs, as scanners store them: RGB or YCbCr, with tables of their own or shared, some tiles missing."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

_JPEG_TABLES = 347  # the tag
_TABLES, _WITHOUT_TABLES, _WHOLE = 1, 2, 0  # Pillow's stream types
_APERIO = "Aperio Image Library v10\n{width}x{height} -> {width}x{height} JPEG/{colours} Q=70|AppMag = 20|MPP = 0.4990"


@dataclass(frozen=True)
class Jpeg:
    """How tiles are stored.

    Attributes:
        rgb: their components are R, G and B, and no marker says so; else YCbCr.
        subsampling: of the colours, 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
        shared: whether their tables stand in the tag JPEGTables.
    """

    rgb: bool = False
    subsampling: int = 2
    shared: bool = True
    quality: int = 80

    def save(self, tile: np.ndarray, streams: int) -> bytes:
        file = io.BytesIO()
        options = {"keep_rgb": True} if self.rgb else {"subsampling": self.subsampling}
        Image.fromarray(tile).save(file, "JPEG", quality=self.quality, streamtype=streams, **options)
        return without_markers(file.getvalue())


def write_jpeg_slide(
    path: Path,
    levels: Sequence[np.ndarray],
    *,
    tile: tuple[int, int] = (240, 240),
    jpeg: Jpeg = Jpeg(),
    missing: Collection[tuple[int, int]] = (),
    vendor: str = "aperio",
) -> Path:
    """Write the levels of a slide.

    Args:
        levels: (h, w, 3) uint8 each, the largest first.
        tile: width and height, px.
        missing: level and number of tiles that are not stored.
        vendor: `aperio`, `philips`, whose levels are padded to whole tiles, or `generic`.
    """
    width, height = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, picture in enumerate(levels):
            h, w = picture.shape[:2]
            across, down = -(-w // width), -(-h // height)
            padded = np.pad(picture, ((0, down * height - h), (0, across * width - w), (0, 0)), mode="edge")
            tiles = [
                b""
                if (level, row * across + column) in missing
                else jpeg.save(
                    padded[row * height : (row + 1) * height, column * width : (column + 1) * width],
                    _WITHOUT_TABLES if jpeg.shared else _WHOLE,
                )
                for row in range(down)
                for column in range(across)
            ]
            tables = jpeg.save(padded[:height, :width], _TABLES)
            told = {
                "aperio": _APERIO.format(width=w, height=h, colours="RGB" if jpeg.rgb else "YCbCr"),
                "philips": _philips([levels[0].shape[1] // each.shape[1] for each in levels]) if not level else None,
            }
            file.write(
                iter(tiles),
                shape=padded.shape if vendor == "philips" else picture.shape,
                dtype=np.uint8,
                tile=(height, width),
                photometric="rgb",
                compression="zlib",  # which tifffile knows without another package; the tag is put right below
                extratags=[(_JPEG_TABLES, 7, len(tables), tables, True)] if jpeg.shared else [],
                description=told.get(vendor),
                subfiletype=1 if level and vendor != "aperio" else 0,
                resolution=(1e4 / 0.499, 1e4 / 0.499),
                resolutionunit="CENTIMETER",
                metadata=None,
                software="Philips DP v1.0" if vendor == "philips" else False,
            )
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite(7)
            page.tags["PhotometricInterpretation"].overwrite(2 if jpeg.rgb else 6)
    return path


def _philips(downsamples: Sequence[int]) -> str:
    """The description of a Philips slide: what OpenSlide asks of it."""
    spacing = '<Attribute Name="DICOM_PIXEL_SPACING">"{0}" "{0}"</Attribute>'
    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing.format(0.000499 * down)}</DataObject>'
        for down in downsamples
    )
    sequence = f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{levels}</Array></Attribute>'
    image = f'<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>{sequence}</DataObject>'
    images = f'<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>{image}</Array></Attribute>'
    return f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{spacing.format(0.000499)}{images}</DataObject>'


def without_markers(data: bytes) -> bytes:
    """A JPEG without the markers JFIF and Adobe, which say the colours: scanners leave them out."""
    kept, at = [data[:2]], 2
    while data[at + 1] not in (0xDA, 0xD9):
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] not in (0xE0, 0xEE):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])
