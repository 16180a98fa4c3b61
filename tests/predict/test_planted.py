"""Attention planted in one corner of a written slide ends in that corner of the attention file and of the GeoJSON, to the px."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from shapely.geometry import shape

from tests.slides.drawn import write
from wsc_ray.attention.file import read_attention
from wsc_ray.commands import predict
from wsc_ray.features.attributes import coords_attributes
from wsc_ray.features.store import SlideFeatures, write_slide, write_slides
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.slides.grid import grid
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.patches import Square, read_patches
from wsc_ray.slides.scale import Scale, choose_scale
from wsc_ray.slides.slide_grid import Settings, slide_grids

SIDE, SIZE, PLANTED = 1024, 64, 3  # px of the slide and of a patch; patches along a side of the planted corner
PINK, BLUE = (225, 160, 190), (60, 60, 200)


def blue_head(folder: Path, embed: dict[str, object] | None = None) -> Path:
    """A head that looks at blue alone: features are a patch's mean red, green and blue."""
    setting = AttentionSettings(lr=1e-3, weight_decay=0.0, dropout=0.0, hidden=1, attention=1, gated=False)
    head = setting.build(3, 2)
    with torch.no_grad():
        head.embed.weight.copy_(torch.tensor([[-1.0, 0.0, 1.0]]))
        head.embed.bias.zero_()
        head.tanh.weight.fill_(1.0)
        head.tanh.bias.zero_()
        head.score.weight.fill_(200.0)
        head.classify.weight.copy_(torch.tensor([[-9.0], [9.0]]))
        head.classify.bias.zero_()
    save_head(folder, head, setting, ["negative", "positive"], {"embed": embed} if embed else {})
    return folder


def corner_of(mpp: float, overlap: int, levels: int) -> tuple[int, int, int, int]:
    """The square that the last patches of the grid's last rows cover: x0, y0, x1, y1, level-0 px."""
    scale = choose_scale(mpp, [2.0**level for level in range(levels)], mpp=0.5, size=SIZE)
    corners = grid((0, 0, SIDE, SIDE), scale.size_level0, scale.size_level0 * (SIZE - overlap) / SIZE)
    low = np.unique(corners[:, 0])[-PLANTED]
    high = corners.max() + round(scale.size_level0)
    return int(low), int(low), int(high), int(high)


def embedded(slide: Path, store: Path, overlap: int) -> tuple[np.ndarray, Scale]:
    """The slide's grid and a store of the mean colours of its patches, as `tile` and `embed` place and describe them."""
    settings = Settings(mpps=(0.5,), size=SIZE, overlap=overlap, tissue=0.0, reader="openslide")
    (found,) = slide_grids(Entry("planted", slide, "p", None, None), settings, store.parent / "tiled")
    scale = found.scale
    assert scale is not None
    squares = [Square(x, y, scale.level, scale.read, scale.size) for x, y in found.coords.tolist()]
    with contextlib.closing(open_slide(slide, "openslide")) as opened:
        pixels = np.stack([*read_patches(opened, squares)])
    features = pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32) / 255
    first = {
        "patch_size": scale.size,
        "patch_size_level0": round(scale.size_level0),
        "level": scale.level,
        "mpp": scale.mpp,
    }
    written = SlideFeatures("planted", features, found.coords)
    write_slide(store, written, attributes={}, coords_attributes=coords_attributes(first, found.coords))
    count = pa.array([len(features)], pa.int64())
    write_slides(store, pa.table({"slide_id": ["planted"], "patient_id": ["p"], "patches": count}))
    return found.coords, scale


@pytest.mark.parametrize("overlap", [0, 16])
@pytest.mark.parametrize(
    ("mpp", "levels"), [(0.5, 3), (0.25, 1), (0.3, 1), (0.125, 3)], ids=["native", "half", "odd", "from a level"]
)
def test_the_corner_is_the_corner(tmp_path, mpp, levels, overlap):
    x0, y0, x1, y1 = corner_of(mpp, overlap, levels)
    picture = np.full((SIDE, SIDE, 3), PINK, np.uint8)
    picture[y0:y1, x0:x1] = BLUE
    slide = write(tmp_path / "planted.tif", picture, mpp=mpp, levels=levels)
    coords, scale = embedded(slide, tmp_path / "features", overlap)
    out = tmp_path / "predicted"
    predict(features=tmp_path / "features", head=blue_head(tmp_path / "mil"), out=out, geojson=True)

    size = round(scale.size_level0)
    inside = (coords >= (x0, y0)).all(axis=1)
    assert inside.sum() == PLANTED**2
    found = read_attention(out / "attention", "planted")
    np.testing.assert_array_equal(found.coords, coords)
    assert found.patch_size_level0 == size
    assert found.attributes["patch_size"] == SIZE
    assert found.attributes["overlap"] == overlap
    assert found.attributes["mpp"] == pytest.approx(0.5, rel=0.02)
    assert found.attributes["mpp_level0"] == pytest.approx(mpp, rel=0.01)
    assert found.attention[inside].sum() > 0.999
    assert found.attention[inside].min() > 0.05

    collection = json.loads((out / "geojson" / "planted.geojson").read_text())
    kinds = [feature["properties"]["objectType"] for feature in collection["features"]]
    assert kinds == ["annotation"] + ["detection"] * len(coords)
    area, *patches = collection["features"]
    outline = shape(area["geometry"])
    assert outline.bounds == (x0, y0, x1, y1)
    assert outline.area == (x1 - x0) * (y1 - y0)
    assert area["properties"]["measurements"]["Patches"] == PLANTED**2
    assert area["properties"]["measurements"]["Attention"] > 0.999
    for patch, (x, y), high in zip(patches, coords.tolist(), inside.tolist(), strict=True):
        assert shape(patch["geometry"]).bounds == (x, y, x + size, y + size)
        assert patch["properties"]["classification"]["name"] == ("High attention" if high else "Low attention")
