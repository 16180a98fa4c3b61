"""The list of bad patches, and the limit on their number."""

import random
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from wsc_ray.errors import BadInputError, DataError
from wsc_ray.stream.quarantine import QUARANTINE, Bad, Quarantine, allowed, from_json, read_quarantine, to_json


def bad(row, **changes):
    values = {"file": "a.parquet", "row_group": 1, "slide_id": "s", "x": row, "y": 0, "reason": "the image is empty"}
    return Bad(row=row, **{**values, **changes})


def test_findings_travel_as_text():
    found = [bad(1), bad(2, slide_id=None, x=None, y=None, reason='"ü"\n')]
    assert from_json(to_json(found)) == found
    assert to_json([]) == ""
    assert from_json("") == []
    assert "\n" not in to_json(found)


def test_every_patch_is_listed_once_with_the_step_that_met_it_first(tmp_path):
    met = [(bad(row), step) for row in range(6) for step in range(row, 20, 3)]
    tables = []
    for seed in range(3):
        random.Random(seed).shuffle(met)
        quarantine = Quarantine(met)
        assert len(quarantine) == 6
        tables.append(quarantine.table())
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert tables[0].select(["x", "first_step"]).to_pylist() == [{"x": row, "first_step": row} for row in range(6)]
    assert not quarantine.add(bad(3), 4)
    assert quarantine.add(bad(3), 1)


def test_the_file_is_the_list(tmp_path):
    quarantine = Quarantine([(bad(1), 4), (bad(2, slide_id=None, x=None, y=None), 9), (bad(1, file="b.parquet"), 10)])
    quarantine.write(tmp_path)
    assert read_quarantine(tmp_path).table().equals(quarantine.table())
    assert pq.read_table(tmp_path / QUARANTINE)["reason"].to_pylist() == ["the image is empty"] * 3
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE]


def test_a_run_taken_up_again_keeps_what_was_met_before(tmp_path):
    Quarantine([(bad(1), 4), (bad(2), 5), (bad(3), 6)]).write(tmp_path)
    before = read_quarantine(tmp_path, before=5)
    assert before.table()["x"].to_pylist() == [1]
    before.write(tmp_path)
    assert len(read_quarantine(tmp_path)) == 1
    read_quarantine(tmp_path, before=0).write(tmp_path)
    assert not (tmp_path / QUARANTINE).exists()
    assert len(read_quarantine(tmp_path)) == 0


@pytest.mark.parametrize(("patches", "fraction", "most"), [(10_000, 0.01, 130), (10_000, 0, 0), (400, 0.25, 130)])
def test_how_many_are_allowed(patches, fraction, most):
    assert allowed(patches, fraction) == most


def test_the_allowed_share_never_stops_a_run_and_twice_the_share_stops_a_large_one():
    for patches in (100, 10_000, 1_000_000):
        assert allowed(patches, 0.01) >= 0.01 * patches
    assert allowed(10_000, 0.01) < 0.02 * 10_000


def test_too_many_is_a_sentence(tmp_path):
    quarantine = Quarantine((bad(row), row) for row in range(5))
    assert quarantine.excess(1000, 0.01, tmp_path) is None
    for row in range(5, 30):
        quarantine.add(replace(bad(row), slide_id=None), row)
    mistake = quarantine.excess(1000, 0.01, tmp_path)
    assert isinstance(mistake, BadInputError)
    assert isinstance(mistake, DataError)
    for part in (
        "30 of 1,000 training patches (3.0%)",
        "stream.max_bad_fraction allows 0.01",
        str(tmp_path / QUARANTINE),
        "slide s, x 2, y 0: the image is empty",
    ):
        assert part in str(mistake)
    assert str(mistake).count("the image is empty") == 3
    assert Quarantine([(bad(1), 0)]).excess(1000, 0, tmp_path) is not None
    assert Quarantine().excess(1000, 0, tmp_path) is None
