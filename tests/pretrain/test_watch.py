"""Workers watch their batches: each learns of the bad patches of all."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from wsc_ray.pretrain.watch import Watch
from wsc_ray.recipe.sections import Stream
from wsc_ray.stream.quarantine import QUARANTINE, Bad, Quarantine, read_quarantine, to_json
from wsc_ray.stream.record import SAMPLES, samples_digest

PLAN = SimpleNamespace(patches=lambda kind: 100)


def bad(row):
    return Bad("a.parquet", 0, row, "slide", row, 0, "the image\nis empty")


def batch(step, *found):
    """Two patches fed at a step, the second in place of those found bad."""
    return {
        "step": np.full(2, step),
        "position": np.arange(2),
        "slide_id": np.array(["s", "s"]),
        "x": np.arange(2),
        "y": np.arange(2),
        "parameters": np.zeros((2, 2, 3), np.float32),
        "bad": np.array(["", to_json(found)], dtype=object),
    }


def watch(folder, first_step=0, **config):
    return Watch(folder, PLAN, Stream(**config), first_step=first_step, device=torch.device("cpu"))


def two_workers_find(rank, folder):
    """What each of two workers makes of findings that overlap: counts, whether it is too much, the file at each time."""
    mine = watch(Path(folder), max_bad_fraction=0.01)
    found = [
        [batch(0, bad(1)), batch(1, bad(2), bad(3))],
        [batch(0), batch(1, bad(1), bad(4))],
    ]
    more = [[batch(2)], [batch(2, *(bad(row) for row in range(10, 17)))]]
    seen = []
    for part in (found, more, [[], []]):
        for _ in mine.over(part[rank]):
            pass
        seen.append((mine.gather(), mine.excess() and str(mine.excess())))
    return seen


def test_every_worker_comes_to_the_same_judgement(gang_of, tmp_path):
    one, two = gang_of(2)(two_workers_find, str(tmp_path))
    assert one == two
    assert [count for count, _ in one] == [4, 11, 11]
    assert one[0][1] is None
    assert "11 of 200 training patches" in one[1][1]
    rows = read_quarantine(tmp_path).table().to_pylist()
    assert [(row["x"], row["first_step"]) for row in rows] == [(1, 0), (2, 1), (3, 1), (4, 1)] + [
        (row, 2) for row in range(10, 17)
    ]


def test_alone(tmp_path):
    mine = watch(tmp_path)
    assert list(mine.over([batch(0), batch(1)]))[1]["step"][0] == 1
    assert mine.gather() == 0
    assert mine.excess() is None
    mine.save()
    assert list(tmp_path.iterdir()) == []


def test_a_run_taken_up_again_starts_from_where_its_lists_stood(tmp_path):
    whole = watch(tmp_path, record=True)
    for step in range(4):
        list(whole.over([batch(step, bad(step))]))
        if step % 2:
            whole.gather()
            whole.save()
    digest, table = samples_digest(tmp_path), read_quarantine(tmp_path).table()
    again = watch(tmp_path, first_step=2, record=True)
    assert again.gather() == 2
    assert len(list((tmp_path / SAMPLES).iterdir())) == 1
    list(again.over([batch(step, bad(step)) for step in (2, 3)]))
    assert again.gather() == 4
    again.save()
    assert samples_digest(tmp_path) == digest
    assert read_quarantine(tmp_path).table().equals(table)


def test_what_was_only_away_is_forgotten_with_its_steps(tmp_path):
    Quarantine([(bad(row), 5) for row in range(50)]).write(tmp_path)
    mine = watch(tmp_path, first_step=5)
    assert mine.gather() == 0
    assert mine.excess() is None
    assert not (tmp_path / QUARANTINE).exists()
