"""The manifest that planning is measured on, and that the measurement comes about."""

import multiprocessing

import pytest

from benchmarks.data.plan import measure_planning, write_manifest
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.write import ROW_GROUP_ROWS


def test_the_manifest_is_like_an_imported_one(tmp_path):
    write_manifest(9000, 3, tmp_path, multiprocessing.get_context("spawn"))
    manifest = open_manifest(tmp_path)
    assert manifest.rows == 9000
    assert len(manifest.files) == 3
    assert set(manifest.cohort().texts("label")) == {"negative", "positive"}
    assert max(group.rows for group in manifest.row_groups) == ROW_GROUP_ROWS
    assert [*manifest.runs().patches().values()] == [4000, 4000, 1000]
    assert set(manifest.runs().slides) == set(manifest.cohort().texts("slide_id"))


@pytest.mark.slow
def test_planning_is_measured_and_its_manifest_taken_away(tmp_path):
    found = measure_planning(2000, 2, tmp_path)
    assert set(found) == {"seconds", "peak_mb", "slide_seconds", "slide_peak_mb"}
    assert min(found.values()) > 0
    assert list(tmp_path.iterdir()) == []
