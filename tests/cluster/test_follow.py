"""A log given anew after each drop is shown once; an ended job is what its command ends with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobStatus

from wsc_ray.errors import JobError
from wsc_ray.remote.job import as_table
from wsc_ray.submit.follow import Shown, ended
from wsc_ray.submit.jobs import Job

JOB = Job("wsc-ray-pretrain-run-0123abcd-1", "pretrain", "/run", "", JobStatus.SUCCEEDED, 0, "", 1.0, 2.0)


@given(st.lists(st.text(max_size=5), max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_each_part_is_shown_once_however_often_the_line_drops(parts, drops):
    said: list[str] = []
    shown = Shown(said.append)
    for length in [*drops, len(parts)]:  # parts that came through before each drop; the last time all
        shown.begin()
        for part in parts[:length]:
            shown.add(part)
    assert "".join(said) == "".join(parts)


def test_parts_may_be_cut_elsewhere_the_next_time():
    said: list[str] = []
    shown = Shown(said.append)
    shown.add("step 1\nst")
    shown.begin()
    shown.add("step 1\n")
    shown.add("step 2\n")
    assert "".join(said) == "step 1\nstep 2\n"


@pytest.mark.parametrize(
    ("status", "exit_status", "ends", "said"),
    [
        (JobStatus.FAILED, 2, 2, "exit status 2; its log: wsc-ray job logs"),
        (JobStatus.FAILED, 137, 137, "exit status 137"),
        (JobStatus.FAILED, -9, 137, "exit status 137"),
        (JobStatus.FAILED, None, 1, "runtime environment"),
        (JobStatus.STOPPED, None, 1, "was stopped"),
    ],
)
def test_a_job_that_did_not_end_well(status, exit_status, ends, said):
    job = Job(JOB.id, JOB.command, JOB.out, "", status, exit_status, "runtime environment\nbroken", 1.0, 2.0)
    with pytest.raises(JobError, match=said) as error:
        ended(job, "http://head:8265")
    assert error.value.exit_status == ends


def test_a_job_that_ended_well():
    assert ended(JOB, "http://head:8265") is JOB


def test_a_table_of_none():
    assert as_table([]) == "no jobs of wsc-ray"
