"""Is a folder the same on every node? Two folders stand for one path on two nodes with disks of their own."""

from dataclasses import replace

import pytest

from wsc_ray.preflight import storage_probe
from wsc_ray.preflight.facts import Storage


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(storage_probe, "MEGABYTES", 1)


def test_a_shared_folder_is_seen_both_ways_and_left_as_it_was(tmp_path):
    trial = storage_probe.begin(str(tmp_path / "new" / "run"))
    found = storage_probe.end(trial, {name: storage_probe.look(trial, name) for name in ("a", "b")})
    assert all(storage.sees and storage.seen and not storage.problem for storage in found.values())
    assert all(storage.write_mb_s > 0 and storage.read_mb_s > 0 for storage in found.values())
    assert not list(tmp_path.iterdir())


def test_a_node_with_a_disk_of_its_own_is_found_out(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    trial = storage_probe.begin(str(here))
    found = storage_probe.end(
        trial, {"a": storage_probe.look(trial, "a"), "b": storage_probe.look(replace(trial, uri=str(there)), "b")}
    )
    assert found["a"].sees
    assert found["a"].seen
    assert not found["b"].sees
    assert not found["b"].seen


def test_a_file_that_only_looks_the_same_is_not_taken_for_it(tmp_path):
    trial = storage_probe.begin(str(tmp_path))
    for path in tmp_path.iterdir():
        path.write_bytes(b"of another cluster")
    assert not storage_probe.look(trial, "a").sees


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trial = storage_probe.begin(str(tmp_path / "file"))
    assert trial.problem
    assert storage_probe.end(trial, {"a": Storage()})["a"].problem == trial.problem
    whole = storage_probe.begin(str(tmp_path))
    assert storage_probe.look(replace(whole, uri=str(tmp_path / "file")), "a").problem


def test_the_nearest_folder_that_is_there(tmp_path):
    assert storage_probe.nearest(str(tmp_path / "a" / "b")) == str(tmp_path)
    assert storage_probe.nearest(str(tmp_path)) == str(tmp_path)
    assert storage_probe.nearest("s3://bucket/run") == "s3://bucket/run"
