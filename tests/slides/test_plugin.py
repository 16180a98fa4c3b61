"""A reader from outside the package's files, as docs/add-a-reader.md says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.slides.drawn import draw
from wsc_ray.errors import DataError
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.slide import READERS, Region, choose_reader

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add-a-reader.md").read_text()


def example() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return block


def test_the_pages_reader_reads(tmp_path):
    exec(compile(example(), "add-a-reader.md", "exec"), {})  # noqa: S102
    try:
        assert choose_reader("picture") == "picture"
        picture = draw(64)
        Image.fromarray(picture).save(tmp_path / "s.png")
        slide = open_slide(tmp_path / "s.png", "picture")
        whole, corner, far = slide.read_regions(
            [Region(0, 0, 0, 64, 64), Region(-8, 56, 0, 16, 16), Region(-80, -80, 0, 8, 8)]
        )
        np.testing.assert_array_equal(whole, picture)
        np.testing.assert_array_equal(corner[:8, 8:], picture[56:, :8])
        assert (corner[8:] == 255).all()
        assert (corner[:, :8] == 255).all()
        assert (far == 255).all()
        (tmp_path / "x.png").write_text("no picture")
        with pytest.raises(DataError, match=r"x\.png cannot be opened"):
            open_slide(tmp_path / "x.png", "picture")
    finally:
        READERS._things.pop("picture")


@pytest.mark.cluster
def test_the_pages_reader_tiles(tmp_path):
    """In processes of their own: the plug-in must reach the workers that read."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "picture.py").write_text(example())
    Image.fromarray(draw(512)).save(tmp_path / "s.png")
    (tmp_path / "slides.csv").write_text("path,slide_id,label,split,mpp\ns.png,s,negative,train,0.5\n")
    environment = {**os.environ, "WSC_RAY_PLUGINS": "lab/picture.py", "PYTHONPATH": str(ROOT)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["tile", "slides.csv", "--reader", "picture", "--patch-size", "64", "--out", "manifest"]
    command = [sys.executable, "-m", "wsc_ray", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(pq.read_metadata(path).num_rows for path in (tmp_path / "manifest/patches").glob("*.parquet")) > 10


def test_a_reader_that_is_not_known_is_a_sentence(wsc_ray_command, tmp_path):
    (tmp_path / "slides.csv").write_text("path,label,split\ns.png,negative,train\n")
    status, text = wsc_ray_command(
        "tile", tmp_path / "slides.csv", "--reader", "open-slide", "--out", tmp_path / "manifest"
    )
    assert status == 2
    assert "--reader open-slide: there is no slide reader open-slide (did you mean openslide?)" in text
    assert not (tmp_path / "manifest").exists()
