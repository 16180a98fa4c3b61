"""Times of a step's phases: they add up, inner phases count separately, and nothing is measured by default."""

import threading
import time

import pytest
import torch

from wsc_ray.distributed import metered
from wsc_ray.encoders.norm import synchronise
from wsc_ray.pretrain.clock import PHASES, Clock, read_steps


def test_time_counts_for_the_innermost_phase():
    clock = Clock(on=True)
    began = time.perf_counter()
    with clock.phase("encode"):
        time.sleep(0.02)
        with clock.phase("loss"):
            time.sleep(0.03)
            with clock.sending(10), clock.phase("communication"):
                time.sleep(0.01)
        time.sleep(0.02)
    took = time.perf_counter() - began
    clock.step_ended(3, patches=8)
    (row,) = clock.rows
    assert row["step"] == 3
    assert row["loss_bytes"] == 10
    assert row["encode"] >= 0.04
    assert row["loss"] >= 0.03
    assert row["communication"] >= 0.01
    assert row["wait"] == row["optimizer"] == 0
    assert sum(row[phase] for phase in PHASES) == pytest.approx(took, abs=0.01)


def test_rows_come_back_by_step_and_rank(tmp_path):
    for rank in (1, 0):
        clock = Clock(on=True)
        for step in range(2):
            with clock.phase("wait"):
                pass
            clock.step_ended(step, patches=4)
        clock.save(tmp_path, rank)
    assert [(row["step"], row["rank"], row["patches"]) for row in read_steps(tmp_path)] == [
        (0, 0, 4),
        (0, 1, 4),
        (1, 0, 4),
        (1, 1, 4),
    ]


def test_nothing_is_kept_or_written_unasked(tmp_path):
    clock = Clock()
    with clock.watching(torch.nn.Identity()), clock.phase("wait"):
        pass
    clock.step_ended(0, patches=4)
    clock.save(tmp_path, 0)
    assert clock.rows == []
    assert not list(tmp_path.iterdir())
    assert read_steps(tmp_path) == []


def on_worker(rank: int) -> list[int]:
    from tests.losses.test_collectives import unit_views
    from wsc_ray.losses import WeakSupConLoss

    sizes: list[int] = []
    clock = Clock(on=True)

    def sending(sent):
        sizes.append(sent)
        return clock.sending(sent)

    views = unit_views(6, d=16, seed=rank, dtype=torch.float32).requires_grad_()
    with metered(sending):
        WeakSupConLoss()(views, torch.tensor([1, 1, 1, 1, 0, 0])).total.backward()
    WeakSupConLoss()(views, torch.tensor([1, 1, 1, 1, 0, 0]))  # no longer looked at
    clock.step_ended(0, 6)
    assert clock.rows[0]["loss_bytes"] == sum(sizes)
    return sizes


def test_every_collective_of_the_loss_is_counted(gang_of):
    """Two counts, four patches' features, a number a view, d + 1 numbers."""
    for sizes in gang_of(2)(on_worker):
        assert sizes == [2 * 8, 4 * 2 * 16 * 4, 4 * 2 * 4, 17 * 4]


def on_normalising_worker(rank: int) -> list[int]:
    sizes: list[int] = []
    clock = Clock(on=True)

    def sending(sent):
        sizes.append(sent)
        return clock.sending(sent)

    x = torch.randn(2 + rank, 5, 3, 3, requires_grad=True)
    with metered(sending):
        out = synchronise(torch.nn.BatchNorm2d(5))(x)
    # As on a GPU, where autograd runs the backward pass in a thread of its own.
    thread = threading.Thread(target=lambda: out.square().sum().backward())
    thread.start()
    thread.join()
    clock.step_ended(0, len(x))
    assert clock.rows[0]["loss_bytes"] == sum(sizes)
    return sizes


def test_what_normalising_over_all_workers_sends_is_counted(gang_of):
    """Mean and variance of each channel and a count, then two sums of each channel; alone, nothing."""
    for sizes in gang_of(2)(on_normalising_worker):
        assert sizes == [(2 * 5 + 1) * 4, 2 * 5 * 4]
    assert gang_of(1)(on_normalising_worker) == [[]]
