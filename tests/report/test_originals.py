"""Thumbnails show the part of the slide that the map beside them shows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pytest

from tests.slides.drawn import write
from wsc_ray.cohort.cohort import make_cohort
from wsc_ray.report.originals import Originals
from wsc_ray.report.pictures import Frame
from wsc_ray.slides.coords import Facts, preview_path, write_coords
from wsc_ray.slides.scale import Scale

pytest.importorskip("openslide")


def manifest_in(folder: Path, **columns: list[str]) -> Any:
    """What `Originals` asks of a manifest: the slides, and where relative paths start."""
    slides = make_cohort(pa.table({"slide_id": ["s"], "patient_id": ["p"], **columns}), "test")
    return SimpleNamespace(cohort=lambda: slides, folder=str(folder), uri=str(folder))


@pytest.fixture
def picture() -> np.ndarray:
    """A slide that is white but for a blue corner at the right, 256 px wide."""
    pixels = np.full((1024, 1024, 3), 255, np.uint8)
    pixels[768:, 768:] = (20, 40, 200)
    return pixels


def test_of_a_slide_file(tmp_path: Path, picture: np.ndarray) -> None:
    write(tmp_path / "s.tiff", picture)
    originals = Originals(manifest_in(tmp_path, slide_uri=["s.tiff"]))
    corner = originals.whole("s", Frame(768, 768, 256, 256, 64))
    assert corner is not None
    assert np.abs(corner.astype(int) - (20, 40, 200)).max() < 30
    beside = originals.whole("s", Frame(0, 768, 256, 256, 64))
    assert beside is not None
    assert beside.min() > 225
    whole = originals.whole("s", Frame(0, 0, 1024, 1024, 64))
    assert whole is not None
    assert whole.shape[0] == whole.shape[1]
    assert whole[-1, -1, 0] < 60 < whole[0, 0, 0]


def test_no_slide_stays_open(tmp_path: Path, picture: np.ndarray) -> None:
    def is_open() -> bool:
        return any(Path(each.path) == tmp_path / "s.tiff" for each in psutil.Process().open_files())

    write(tmp_path / "s.tiff", picture)
    originals = Originals(manifest_in(tmp_path, slide_uri=["s.tiff"]))
    assert originals.whole("s", Frame(0, 0, 1024, 1024, 64)) is not None
    assert is_open()
    originals.close()
    assert not is_open()


def test_of_a_preview_where_the_file_has_gone(tmp_path: Path, picture: np.ndarray) -> None:
    coords = np.array([(768, 768)])
    scale = Scale(level=0, read=256, size=256, size_level0=256.0, mpp=0.5, mpp_level0=0.5)
    facts = Facts(width=1024, height=1024, tissue=0.1, pen=0.0, blurred=0.0, dropped={})
    write_coords(tmp_path, "s", coords, scale, facts, overlap=0, made={})
    preview_path(tmp_path, "s").parent.mkdir()
    cv2.imwrite(str(preview_path(tmp_path, "s")), picture[..., ::-1])
    originals = Originals(manifest_in(tmp_path, slide_uri=["gone.tiff"]))
    corner = originals.whole("s", Frame(768, 768, 256, 256, 64))
    assert corner is not None
    assert corner.shape == (256, 256, 3)
    assert np.abs(corner[4:, 4:].astype(int) - (20, 40, 200)).max() < 10  # JPEG blurs the colour of an edge
    beside = originals.whole("s", Frame(0, 768, 256, 256, 64))
    assert beside is not None
    assert beside.min() > 225


def test_of_neither(tmp_path: Path) -> None:
    frame = Frame(0, 0, 256, 256, 64)
    assert Originals(manifest_in(tmp_path)).whole("s", frame) is None
    assert Originals(manifest_in(tmp_path)).whole("../s", frame) is None
    assert Originals(None).whole("s", frame) is None
    assert Originals(None).patches("s", [(0, 0)]) == {}
