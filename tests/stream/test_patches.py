"""Stand-ins for patches that cannot be read, on small manifests on disk."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.manifest.cohort import cohort, write, write_images
from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import decode
from wsc_ray.stream.groups import Group
from wsc_ray.stream.patches import Patches
from wsc_ray.stream.quarantine import Bad

ROWS = 4  # of a row group


class Case:
    """Patches of one label in row groups of four; the ones named are damaged."""

    def __init__(self, folder: Path, rows=12, bad=(), *, uris=False):
        table = cohort(1, rows)
        self.images = [decode(image) for image in table["image"].to_pylist()]
        if uris:
            (folder / "m").mkdir(parents=True)
            paths = write_images(folder / "m", table)
            for row in bad:
                (folder / "m" / paths[row]).unlink()
            table = table.drop_columns("image").append_column("image_uri", pa.array(paths))
        else:
            images = [b"no image" if row in bad else image for row, image in enumerate(table["image"].to_pylist())]
            table = table.set_column(table.schema.get_field_index("image"), "image", pa.array(images))
        write(table, folder / "m" / "m.parquet", row_group_size=ROWS, compression="none", use_dictionary=False)
        self.file = folder / "m" / "m.parquet"
        self.manifest = open_manifest(folder / "m")
        self.groups = [Group(g.file, g.row_group, 0, g.rows, 0) for g in self.manifest.row_groups]
        self.waits = []

    def patches(self, *, retries=0, allowed=100):
        return Patches(self.manifest, self.groups, retries=retries, allowed=allowed, sleep=self.waits.append)

    def get(self, row, patches=None):
        """The row that is given for a row, counted over the file, and what was told to be bad."""
        patches = patches or self.patches()
        patches.fetch([divmod(row, ROWS)])
        patch = patches.get(*divmod(row, ROWS))
        (found,) = [number for number, image in enumerate(self.images) if np.array_equal(image, patch.content)]
        assert patch.x == found * 8
        assert patch.group == found // ROWS
        return found, [bad.row_group * ROWS + bad.row for bad in patch.bad]


def damage_row_group(file: Path, number: int, *, images_only: bool) -> None:
    """Overwrite a row group's pages in the file: all columns, or the images alone."""
    group = pq.read_metadata(file).row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    data = bytearray(file.read_bytes())
    for column in columns:
        if not images_only or column.path_in_schema == "image":
            begin = column.data_page_offset
            data[begin : begin + 12] = b"\xff" * 12
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("uris", [False, True])
@pytest.mark.parametrize(
    ("bad", "picked", "given"),
    [
        ((), 5, 5),
        ((5,), 5, 6),
        ((5, 6), 5, 7),
        ((7,), 7, 4),  # round the row group
        ((4, 5, 6), 5, 7),
        ((5, 6, 7), 6, 4),
        ((4, 5, 6, 7), 6, 8),  # the next row group, from its first row
        ((4, 5, 6, 7, 8), 6, 9),
        ((8, 9, 10, 11), 9, 0),  # round the class
        (range(1, 12), 4, 0),
    ],
)
def test_the_next_of_the_row_group_stands_in_then_of_the_next_row_group(tmp_path, uris, bad, picked, given):
    case = Case(tmp_path, bad=bad, uris=uris)
    found, told = case.get(picked)
    assert found == given
    begin = picked // ROWS * ROWS
    within = [begin + (picked - begin + turn) % ROWS for turn in range(ROWS)]
    order = within + [(begin + ROWS + turn) % 12 for turn in range(12 - ROWS)]
    assert told == order[: order.index(given)]


def test_a_bad_patch_is_reported_once_with_its_reason(tmp_path):
    case = Case(tmp_path, bad=(1, 2))
    patches = case.patches()
    assert case.get(2, patches) == (3, [2])
    assert case.get(1, patches) == (3, [1])
    assert case.get(1, patches) == (3, [])
    patches = case.patches()
    patches.fetch([(0, 1)])
    (bad, _) = patches.get(0, 1).bad
    assert bad == Bad(
        file=str(case.file),
        row_group=0,
        row=1,
        slide_id="s0",
        x=8,
        y=0,
        reason="the image cannot be decoded: its 8 bytes are cut short or no known format",
    )


def test_other_patches_are_as_they_were(tmp_path):
    case = Case(tmp_path, bad=(1, 6))
    patches = case.patches()
    patches.fetch([divmod(row, ROWS) for row in range(12)])
    assert [case.get(row, patches)[0] for row in range(12)] == [0, 2, 2, 3, 4, 5, 7, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("images_only", [False, True])
def test_a_row_group_that_cannot_be_read(tmp_path, images_only):
    case = Case(tmp_path)
    damage_row_group(case.file, 1, images_only=images_only)
    patches = case.patches()
    patches.fetch([(0, 0), (1, 2)])
    patch = patches.get(1, 2)
    assert np.array_equal(patch.content, case.images[8])
    assert [bad.row for bad in patch.bad] == [0, 1, 2, 3]
    assert {bad.row_group for bad in patch.bad} == {1}
    assert all("row group 1 cannot be read" in bad.reason for bad in patch.bad)
    # The names beside damaged images are whole.
    assert [bad.x for bad in patch.bad] == ([32, 40, 48, 56] if images_only else [None] * 4)
    assert np.array_equal(patches.get(0, 0).content, case.images[0])
    assert patches.get(1, 3).bad == []


def test_nothing_readable_is_a_sentence(tmp_path):
    case = Case(tmp_path, bad=range(12))
    with pytest.raises(DataError, match=r"none of the 12 patches .* slide s0, x 32, y 0: .*no known format"):
        case.get(4)


def test_above_the_limit_no_stand_in_is_sought(tmp_path):
    case = Case(tmp_path, bad=range(4, 12))
    patches = case.patches(allowed=2)
    patches.fetch([(1, 0), (0, 1)])
    patch = patches.get(1, 0)
    assert not patch.content.any()
    assert 2 < len(patch.bad) < 8
    assert np.array_equal(patches.get(0, 1).content, case.images[1])


def test_missing_objects_wait_together(tmp_path):
    case = Case(tmp_path, bad=(0, 1, 4, 9), uris=True)
    patches = case.patches(retries=2)
    patches.fetch([divmod(row, ROWS) for row in range(12)])
    assert case.waits == [0.5, 1]
    assert [case.get(row, patches)[0] for row in range(12)] == [2, 2, 2, 3, 5, 5, 6, 7, 8, 10, 10, 11]
    # What is damaged does not get better.
    case = Case(tmp_path / "b", bad=(0,))
    case.get(0, case.patches(retries=2))
    assert case.waits == []
