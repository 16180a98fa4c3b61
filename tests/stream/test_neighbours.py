"""Neighbours as second views: who they are, and that nothing else of the stream changes."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.broken import damaged, import_table
from tests.stream.test_read import Stream, digest
from wsc_ray.errors import RecipeError
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.pixels import decode
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.neighbours import REACH, Neighbours, neighbour_draws


def table(rows):
    """Rows of (slide, x, y, mpp, patch_size, level, patch_size_level0)."""
    names = ("slide_id", "x", "y", "mpp", "patch_size", "level", "patch_size_level0")
    return pa.table({name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)})


def grid(columns, rows, *, slide="a", step=64, mpp=0.5, side=64):
    return [(slide, step * x, step * y, mpp, 64, 0, side) for y in range(rows) for x in range(columns)]


def test_the_eight_around_a_patch_and_fewer_at_the_borders():
    rows = grid(5, 4)
    found = Neighbours(table(rows))
    assert found.of(7).tolist() == [1, 2, 3, 6, 8, 11, 12, 13]
    assert found.of(0).tolist() == [1, 5, 6]
    assert found.of(19).tolist() == [13, 14, 18]


def test_neighbours_are_of_one_slide_and_scale_and_near():
    rows = grid(2, 2) + grid(2, 2, slide="b") + grid(2, 2, mpp=1.0, step=128, side=128)
    rows += [("a", 10_000, 0, 0.5, 64, 0, 64), ("c", 0, 0, None, 64, 1, None), ("c", 64, 0, None, 64, 1, None)]
    found = Neighbours(table(rows))
    for row, (slide, x, y, mpp, *_, side) in enumerate(rows):
        expected = [
            other
            for other, (name, ox, oy, scale, *_) in enumerate(rows)
            if side and (name, scale) == (slide, mpp) and 0 < np.hypot(ox - x, oy - y) <= REACH * side
        ]
        assert found.of(row).tolist() == expected, row
    assert found.choose(12, 0.3) is None, "far from all others"
    assert found.choose(13, 0.3) is None, "of a side that nobody knows"


def test_each_neighbour_is_as_likely():
    found = Neighbours(table(grid(3, 3)))
    draws = neighbour_draws(16_000, 0.5, 7, 1)
    shown = draws[~np.isnan(draws)]
    assert abs(len(shown) / 16_000 - 0.5) < 0.02
    counts = np.bincount([found.choose(4, draw) for draw in shown.tolist()], minlength=9)
    assert counts[4] == 0
    assert (np.abs(np.delete(counts, 4) / len(shown) - 1 / 8) < 0.015).all()
    np.testing.assert_array_equal(neighbour_draws(10, 0.5, 7, 1)[:5], neighbour_draws(5, 0.5, 7, 1))


def images(folder):
    rows = pq.read_table(folder / PATCHES).to_pylist()
    return {(row["slide_id"], row["x"], row["y"]): row for row in rows}


def with_share(settings, share, **stream):
    return Stream(
        {**settings, "augment": {**settings["augment"], "neighbour": share}, "stream": {**settings["stream"], **stream}}
    )


def test_workers_and_restarts_change_nothing(settings):
    stream = with_share(settings, 0.6)
    whole = stream(1)
    assert digest(whole) == digest(stream(2)) == digest(stream(4))
    rest = stream(first_step=5)
    assert digest(rest) == digest({step: whole[step] for step in rest})


def test_the_order_and_the_first_view_are_those_without_neighbours(settings):
    """The second is of the neighbour that the record names, by the parameters that it would have had."""
    plain, found = with_share(settings, 0.0)(), with_share(settings, 0.7)()
    rows = images(Path(settings["data"]["manifest"]))
    moved = still = 0
    for step, batch in found.items():
        for name in ("position", "slide_id", "x", "y", "label", "bad"):
            np.testing.assert_array_equal(batch[name], plain[step][name])
        np.testing.assert_array_equal(batch["views"][:, 0], plain[step]["views"][:, 0])
        np.testing.assert_array_equal(batch["parameters"][..., :-2], plain[step]["parameters"])
        assert not batch["parameters"][:, 0, -2:].any()
        for row in range(len(batch["x"])):
            dx, dy = batch["parameters"][row, 1, -2:].astype(int).tolist()
            other = rows[batch["slide_id"][row], batch["x"][row] + dx, batch["y"][row] + dy]
            expected = apply_view(decode(other["image"]), batch["parameters"][row, 1, :-2], 32)
            np.testing.assert_array_equal(batch["views"][row, 1], expected)
            assert np.hypot(dx, dy) <= REACH * other["patch_size"]
            moved, still = moved + bool(dx or dy), still + (not dx and not dy)
    assert moved > still > 0


def test_an_unreadable_neighbour_is_passed_over(settings, cohort, tmp_path):
    """Stand-ins and the reported bad patches are the same as without neighbours, and no view shows a damaged patch."""
    raw = pq.read_table(cohort)
    bad = set(range(0, raw.num_rows, 7))
    settings["data"]["manifest"] = str(import_table(damaged(raw, bad), tmp_path))
    settings["stream"]["max_bad_fraction"] = 0.5
    plain, found = with_share(settings, 0.0)(), with_share(settings, 1.0)()
    for step, batch in found.items():
        for name in ("slide_id", "x", "y", "bad"):
            np.testing.assert_array_equal(batch[name], plain[step][name])
    assert digest(with_share(settings, 1.0)(2)) == digest(found)


def test_what_can_be_read_does_not_depend_on_who_has_neighbours(settings, manifest, tmp_path):
    """A damaged page of a column that only neighbours need closes its row group for every worker."""
    folder = tmp_path / "damaged"
    shutil.copytree(manifest, folder)
    (file,) = (folder / PATCHES).glob("*.parquet")
    content, metadata = bytearray(file.read_bytes()), pq.read_metadata(file)
    for number in range(0, metadata.num_row_groups, 3):
        columns = [metadata.row_group(number).column(place) for place in range(metadata.num_columns)]
        (level,) = (column for column in columns if column.path_in_schema == "level")
        start = level.data_page_offset if level.dictionary_page_offset is None else level.dictionary_page_offset
        content[start + level.total_compressed_size - 1] ^= 255
    file.write_bytes(content)
    settings["data"]["manifest"] = str(folder)
    settings["stream"]["max_bad_fraction"] = 0.9
    stream = with_share(settings, 0.1, retries=0)
    whole = stream(1)
    assert any(bad for batch in whole.values() for bad in batch["bad"])
    assert digest(whole) == digest(stream(4))


def test_a_digest_without_neighbours_is_what_it_was(settings):
    recipe = validate_recipe(settings)
    assert "neighbour" not in recipe.training_part()["augment"]
    settings["augment"]["neighbour"] = 0.25
    assert validate_recipe(settings).training_part()["augment"]["neighbour"] == 0.25
    settings["stream"]["augment_on"] = "device"
    with pytest.raises(RecipeError, match=r"augment\.neighbour.*device makes both views of one image"):
        validate_recipe(settings)
