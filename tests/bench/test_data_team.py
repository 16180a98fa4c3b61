"""Processes that take turns."""

import multiprocessing
import os

import pytest

from benchmarks.crew import CrewError
from benchmarks.data.cost import Sample
from benchmarks.data.team import Team


def counting(rank, start):
    made = [start + rank]

    def do_round():
        made[0] += 10
        return Sample(made[0], 1.0 + rank, os.getpid())

    return do_round


def failing(rank, when):
    if when == "prepare":
        raise ValueError("nothing to prepare")

    def do_round():
        if when == "round":
            raise ValueError("no round")
        os._exit(3)

    return do_round


def test_a_round_is_of_all_members_and_they_keep_what_they_have():
    with Team(counting, 2, 100) as team:
        assert team.round() == Sample(110 + 111, 2.0, sum(team.pids))
        assert team.round().patches == 120 + 121
        assert len(set(team.pids)) == 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("when", "said"), [("prepare", "nothing to prepare"), ("round", "no round"), ("exit", "said nothing")]
)
def test_a_failure_is_told_and_nobody_stays(when, said):
    with pytest.raises(CrewError, match=said), Team(failing, 2, when) as team:
        team.round()
    assert not multiprocessing.active_children()
