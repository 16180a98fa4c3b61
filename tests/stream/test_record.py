"""The record of the batches that went to the model, and its digest."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from wsc_ray.stream.record import SAMPLES, SCHEMA, Recorder, samples_digest, truncate_samples


def batch(step, positions, offset=0):
    positions = np.asarray(positions)
    return {
        "step": np.full(len(positions), step),
        "position": positions,
        "slide_id": np.array([f"s{p % 3}" for p in positions]),
        "x": 10 * positions + step + offset,
        "y": positions,
        "parameters": np.arange(4, dtype=np.float32).reshape(1, 2, 2) + positions[:, None, None] + step,
        "views": np.zeros((len(positions), 2, 8, 8, 3), np.uint8),
    }


def record(folder, *, workers=1, checkpoints=(6,), steps=range(6), offset=0):
    """Feed 8 patches a step, shared by workers that save at the checkpoints."""
    recorders = [Recorder() for _ in range(workers)]
    for step in steps:
        for rank, positions in enumerate(np.array_split(np.arange(8), workers)):
            recorders[rank].add(batch(step, positions, offset))
        if step + 1 in checkpoints:
            for rank, recorder in enumerate(recorders):
                recorder.save(folder, rank)
    return folder


def test_nothing_recorded_is_the_empty_sequence(tmp_path):
    assert samples_digest(tmp_path) == hashlib.sha256(b"").hexdigest()
    truncate_samples(tmp_path, 0)


def test_the_digest_is_of_the_sequence_alone(tmp_path):
    digest = samples_digest(record(tmp_path / "one"))
    assert digest == samples_digest(record(tmp_path / "two", workers=2, checkpoints=(2, 4, 6)))
    assert digest != samples_digest(record(tmp_path / "short", steps=range(5), checkpoints=(5,)))
    assert digest != samples_digest(record(tmp_path / "other", offset=1))


@pytest.mark.parametrize("column", ["slide_id", "x", "y", "parameters"])
def test_the_digest_sees_every_column(tmp_path, column):
    digests = set()
    for number in range(2):
        fed = batch(0, range(8))
        if number:
            fed[column] = fed[column].copy()
            fed[column][5] = "other" if column == "slide_id" else fed[column][5] + 1
        recorder = Recorder()
        recorder.add(fed)
        recorder.save(tmp_path / str(number), 0)
        digests.add(samples_digest(tmp_path / str(number)))
    assert len(digests) == 2


def test_a_run_taken_up_again_by_other_workers_has_the_same_record(tmp_path):
    whole = samples_digest(record(tmp_path / "whole"))
    folder = record(tmp_path / "broken", workers=2, checkpoints=(2, 4), steps=range(4))
    truncate_samples(folder, 2)
    assert samples_digest(folder) == samples_digest(record(tmp_path / "two", steps=range(2), checkpoints=(2,)))
    record(folder, workers=1, checkpoints=(6,), steps=range(2, 6))
    assert samples_digest(folder) == whole


def test_where_files_overlap_the_later_ones_count(tmp_path):
    folder = record(tmp_path / "a", steps=range(6), checkpoints=(6,), offset=9)
    record(folder, steps=range(3, 6), checkpoints=(6,))
    expected = record(tmp_path / "b", steps=range(3), checkpoints=(3,), offset=9)
    record(expected, steps=range(3, 6), checkpoints=(6,))
    assert samples_digest(folder) == samples_digest(expected)


def test_files_are_parquet_a_worker_each(tmp_path):
    record(tmp_path, workers=2, checkpoints=(3, 6))
    files = sorted((tmp_path / SAMPLES).iterdir())
    assert [file.name for file in files] == [f"00000000{step}-0000{rank}.parquet" for step in (0, 3) for rank in (0, 1)]
    table = pq.read_table(files[3])
    assert table.schema.equals(SCHEMA)
    assert set(table["step"].to_pylist()) == {3, 4, 5}
    assert set(table["position"].to_pylist()) == {4, 5, 6, 7}


def test_nothing_fed_is_nothing_written(tmp_path):
    Recorder().save(tmp_path, 0)
    truncate_samples(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
