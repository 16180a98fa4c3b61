"""A log given anew after each drop is shown once; an ended job is what its command ends with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobStatus

from wsc_ray.errors import ClusterError, JobError
from wsc_ray.remote.job import as_table
from wsc_ray.submit.follow import Shown, ended, follow
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


class ClosesEarly:
    """A cluster whose connection closes before it has sent the log's last lines, although the job has ended."""

    option, address = "--address http://head:8265", "http://head:8265"

    def __init__(self, rest):
        self.rest, self.client = rest, self

    async def tail_job_logs(self, job_id):
        yield "step 1\n"

    def look(self, job_id):
        return JOB

    def log(self, job_id):
        if self.rest is None:
            raise ClusterError("http://head:8265 has no log of it")
        return f"step 1\n{self.rest}"


@pytest.mark.parametrize(
    ("rest", "said", "warned"),
    [("fail  manifest\n", "step 1\nfail  manifest\n", ""), (None, "step 1\n", "the end of the log may be missing")],
)
def test_the_last_lines_of_an_ended_job_are_shown_whenever_its_connection_closes(rest, said, warned, capsys):
    written: list[str] = []
    assert follow(ClosesEarly(rest), JOB.id, write=written.append) is JOB
    assert "".join(written) == said
    noted = capsys.readouterr().err
    assert bool(noted) == bool(warned)
    assert warned in noted


def test_a_table_of_none():
    assert as_table([]) == "no jobs of wsc-ray"
