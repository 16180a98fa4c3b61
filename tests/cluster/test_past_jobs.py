"""`job list`: what is written down of jobs, read where the cluster is gone."""

import json
from dataclasses import replace

import pytest
import yaml

from tests.cluster.files import CLUSTER, filled
from tests.cluster.test_money import MARKS
from wsc_ray.autostop.records import note_in_run, read_records, record_of, write_record
from wsc_ray.autostop.verdict import SeenJob
from wsc_ray.commands import job_list
from wsc_ray.errors import ClusterError
from wsc_ray.files import read_json, write_json


@pytest.fixture
def cluster(tmp_path):
    """A cluster's file whose storage is a folder here."""
    (config,) = filled("aws.yaml", **MARKS["aws.yaml"])
    (tmp_path / "storage").mkdir()
    (tmp_path / "aws.yaml").write_text(yaml.safe_dump(config | {"metadata": {"storage": str(tmp_path / "storage")}}))
    return tmp_path / "aws.yaml"


def record(number, status="SUCCEEDED", *, started=1000.0, seconds=3600.0, price=2.0, reason=None, out="/runs/a"):
    ended = None if status == "RUNNING" else started + seconds
    job = SeenJob(f"wsc-ray-pretrain-a-{number}", status, started, ended, 0, "pretrain", out)
    return record_of(job, cluster="wsc-ray", dollars_an_hour=price, ended_by=reason)


def test_past_jobs_with_their_time_and_cost(cluster, wsc_ray_command):
    storage = str(cluster.parent / "storage")
    written = [
        record(1, "FAILED", started=5000, seconds=1800, price=3.0),
        record(1, started=1000, seconds=7200, price=1.0),
        record(2, started=9000, price=None),
        record(3, "STOPPED", started=9500, seconds=60, price=0.0, reason="the cluster was taken down after 1 hours"),
        record(4, "RUNNING", started=9900),
    ]
    for each in written:
        write_record(storage, each)
    write_record(storage, written[0])
    (cluster.parent / "storage" / "jobs" / "other.json").write_text("{}")
    rows = job_list(cluster=str(cluster))
    assert [(row["started"][-5:-3], row["seconds"], row["dollars"]) for row in rows[:4]] == [
        ("16", 7200, 2.0),
        ("23", 1800, 1.5),
        ("30", 3600, None),
        ("38", 60, 0.0),
    ]
    assert rows[4]["status"] == "running when last seen"
    assert len(read_records(storage)) == 5
    status, text = wsc_ray_command("job", "list", "--cluster", cluster)
    assert status == 0
    assert text.splitlines()[0].split() == ["job", "status", "step", "started", "took", "dollars", "out"]
    assert "not known" in text
    assert "wsc-ray-pretrain-a-3: the cluster was taken down after 1 hours" in text
    status, text = wsc_ray_command("job", "list", "wsc-ray-pretrain-a-1", "--cluster", cluster, "--json")
    assert [row["dollars"] for row in json.loads(text)] == [2.0, 1.5], "the id of two clusters, one after the other"


def test_files_that_are_no_records_and_damaged_ones_are_left_out(cluster, wsc_ray_command):
    storage = str(cluster.parent / "storage")
    run = cluster.parent / "run"
    run.mkdir()
    (run / "steps.json").write_text('{"step"')
    write_record(storage, replace(record(1, out=str(run)), command="run"))
    folder = cluster.parent / "storage" / "jobs"
    (good,) = folder.iterdir()
    values = read_json(good)
    (folder / "flipped.json").write_text(good.read_text().replace("succeeded", "succeedee"))
    for number, change in enumerate(({"started": "noon"}, {"started": 1e300}, {"ended": []}, {"dollars_an_hour": "3"})):
        (folder / f"other-{number}.json").write_text(json.dumps(values | change))
    for number, content in enumerate((b"", b"[1]", b"\xff", b"[" * 100_000)):
        (folder / f"foreign-{number}.json").write_bytes(content)
    (folder / "folder.json").mkdir()
    assert read_records(storage) == [replace(record(1, out=str(run)), command="run")]
    status, text = wsc_ray_command("job", "list", "--cluster", cluster)
    assert status == 0
    assert len(text.splitlines()) == 2


def test_nothing_to_list_is_said(cluster):
    assert job_list(cluster=str(cluster)) == []
    with pytest.raises(ClusterError, match="no record of job j"):
        job_list(cluster=str(cluster), job="j")
    (cluster.parent / "storage").rmdir()
    with pytest.raises(ClusterError, match="does not exist on this machine"):
        job_list(cluster=str(cluster))
    config = yaml.safe_load(cluster.read_text())
    del config["metadata"]
    cluster.write_text(yaml.safe_dump(config))
    with pytest.raises(ClusterError, match="names no storage"):
        job_list(cluster=str(cluster))


def test_a_run_says_why_its_job_was_ended(tmp_path):
    run = tmp_path / "run"
    note_in_run(record(1, out=str(run), reason="why"))
    assert not run.exists(), "the command had not begun to write"
    run.mkdir()
    note_in_run(record(1, out=str(run), reason="why"))
    (only,) = read_json(run / "cluster.json")["jobs"]
    assert only == {"job": "wsc-ray-pretrain-a-1", "started": 1000.0, "ended": 4600.0, "ended_by": "why"}
    write_json(run / "cluster.json", {"jobs": [{"job": "earlier"}, {"job": "wsc-ray-pretrain-a-2", "nodes": []}]})
    note_in_run(record(2, out=str(run), reason="because"))
    assert read_json(run / "cluster.json")["jobs"] == [
        {"job": "earlier"},
        {"job": "wsc-ray-pretrain-a-2", "nodes": [], "ended_by": "because"},
    ]


def test_of_slurm_another_command_lists_them():
    with pytest.raises(ClusterError, match=r"job status --cluster .* lists Slurm's jobs"):
        job_list(cluster=str(CLUSTER / "slurm.sh"))
