"""Lots: every slide whole and in one of them, row groups read once where they can be."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.features import lots as module
from wsc_ray.features.lots import Lots
from wsc_ray.manifest.footers import RowGroup
from wsc_ray.manifest.runs import FileRuns, join_runs


def runs_of(groups):
    """Runs and row groups of a manifest of one file, from the slide of each row of each row group."""
    names = list(dict.fromkeys(slide for rows in groups for slide in rows))
    found = []
    for group, rows in enumerate(groups):
        starts = [row for row in range(len(rows)) if row == 0 or rows[row] != rows[row - 1]]
        found += [
            (group, stop - start, names.index(rows[start]))
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)
        ]
    columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
    runs = join_runs([FileRuns(*columns, tuple(names))], [len(groups)])
    return runs, [RowGroup(0, number, len(rows)) for number, rows in enumerate(groups)]


def cut(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def ordered(sizes, group):
    """Slides one after the other, in row groups that do not stop for them."""
    return cut([f"s{number}" for number, size in enumerate(sizes) for _ in range(size)], group)


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=9), min_size=1, max_size=12),
    st.sets(st.sampled_from("abcdefg")),
    st.integers(1, 4),
)
def test_each_wanted_slide_is_whole_and_in_one_lot(groups, wanted, workers):
    runs, row_groups = runs_of(groups)
    found: dict[str, list] = {}
    made = Lots(runs, row_groups, wanted, workers)
    for lot in made:
        places: dict[int, list] = {}
        for part in lot.parts:
            for start, rows, slide in part.runs:
                places.setdefault(slide, []).extend((part.row_group, row) for row in range(start, start + rows))
        assert [part.row_group for part in lot.parts] == sorted({part.row_group for part in lot.parts})
        for slide, own in places.items():
            assert lot.slides[slide] not in found
            assert len(own) == lot.sizes[slide]
            found[lot.slides[slide]] = own
    expected = {
        slide: [(g, row) for g, rows in enumerate(groups) for row, name in enumerate(rows) if name == slide]
        for slide in wanted & {name for rows in groups for name in rows}
    }
    assert found == expected
    assert made.patches == sum(map(len, expected.values()))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("sizes", [[20] * 300, [700, 3, 9000, 40, 5] * 4, [128] * 100])
def test_of_an_ordered_manifest_little_is_read_twice(sizes, workers, monkeypatch):
    monkeypatch.setattr(module, "LOT_PATCHES", 1024)
    runs, row_groups = runs_of(ordered(sizes, 128))
    made = list(Lots(runs, row_groups, [f"s{n}" for n in range(len(sizes))], workers))
    read = Counter(part.row_group for lot in made for part in lot.parts)
    assert max(read.values()) <= 2
    assert sum(read.values()) - len(row_groups) < len(made)
    assert len(made) >= min(workers, len(sizes))
    assert [lot.patches for lot in made] == sorted((lot.patches for lot in made), reverse=True)
    assert all(lot.patches <= max(sizes) + 3 * 1024 for lot in made)
    assert all(len(lot.slides) <= module.LOT_SLIDES for lot in made)


def test_of_slides_that_lie_mixed_each_row_group_is_read_once_a_worker():
    rows = np.random.default_rng(0).permutation(np.repeat([f"s{n}" for n in range(60)], 100)).tolist()
    runs, row_groups = runs_of(cut(rows, 128))
    for workers in (1, 2):
        read = Counter(part.row_group for lot in Lots(runs, row_groups, set(rows), workers) for part in lot.parts)
        assert set(read.values()) == {workers}


def test_no_lot_has_more_files_open_than_it_may():
    rows = np.random.default_rng(0).permutation(np.repeat([f"s{n}" for n in range(1000)], 5)).tolist()
    runs, row_groups = runs_of(cut(rows, 128))
    assert max(len(lot.slides) for lot in Lots(runs, row_groups, set(rows), 1)) == module.LOT_SLIDES


def test_nothing_to_do_is_no_lot():
    runs, row_groups = runs_of([["a", "b"]])
    assert list(Lots(runs, row_groups, [], 2)) == []
