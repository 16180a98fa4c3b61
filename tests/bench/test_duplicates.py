"""The benchmark of copies finds what it plants, and leaves its page."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.duplicates.__main__ import main
from benchmarks.duplicates.copies import ALTERATIONS, NONE, SHIFT, search_copies, some_slides
from benchmarks.duplicates.size import NOISE, WIDTH, measure, multiplied
from tests.conftest import invoke
from wsc_ray.errors import DataError
from wsc_ray.neighbours.vectors import unit_vectors

SIDE = 32


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Thirty slides of six patches of noise, whose copies alone look alike."""
    rng, rows = np.random.default_rng(0), []
    for slide in range(30):
        for patch in range(6):
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(data, "PNG")
            rows.append({"slide_id": f"s{slide:02}", "patient_id": f"p{slide}", "x": patch * SIDE, "y": 0})
            rows[-1]["image"] = data.getvalue()
    return pa.Table.from_pylist(rows)


def pixels(images: list[np.ndarray]) -> np.ndarray:
    """The pixels themselves as features: an unchanged copy has the same ones, a mirrored one others."""
    return unit_vectors(np.stack([image.astype(np.float32).ravel() - 127 for image in images]), "pixels")


def test_unchanged_copies_are_found_and_no_others(table) -> None:
    results, vectors = search_copies(table, pixels, 5, 0)
    assert list(results) == [NONE, *ALTERATIONS]
    assert vectors.shape == (180, 3 * (SIDE - SHIFT) ** 2)
    assert results["same bytes"].slides == 1
    assert results["same bytes"].patches == 1
    assert results["mirrored left to right"].slides == 0  # pixels are no features that a mirror leaves alike
    assert [found.wrong for found in results.values()] == [0] * len(results)
    with pytest.raises(DataError, match="30 slides, fewer than the 31"):
        search_copies(table, pixels, 31, 0)


def test_some_slides_are_whole_and_the_same_each_time(table) -> None:
    some = some_slides(table, 7, 0)
    assert some.num_rows == 7 * 6
    assert len(set(some["slide_id"].to_pylist())) == 7
    assert some.equals(some_slides(table, 7, 0))
    assert some_slides(table, 100, 0).num_rows == table.num_rows


def test_made_up_features_lie_around_the_real_ones() -> None:
    real = unit_vectors(np.random.default_rng(1).normal(size=(50, 700)), "real")
    made = multiplied(real, 400, 3)
    assert made.shape == (400, WIDTH)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
    nearest = np.sort(made @ made.T - 2 * np.eye(400), axis=1)[:, -1]
    assert nearest.mean() == pytest.approx(1 / (1 + NOISE**2), abs=0.05)  # another of the same real patch
    cost = measure(made, 100, 0)
    assert cost.exact
    assert cost.recall == 1
    assert cost.again == 1
    assert (cost.patches, cost.queries, cost.vectors_bytes) == (400, 100, 400 * WIDTH * 4)


def test_the_command_refuses_a_table_without_the_columns(table, tmp_path) -> None:
    pq.write_table(table.drop_columns(["image"]), tmp_path / "table.parquet")
    result = invoke(str(tmp_path / "table.parquet"), "--encoder", "timm:none", program=main)
    assert result.exit_code == 2
    assert "cannot be read as a table with slide_id" in result.output
