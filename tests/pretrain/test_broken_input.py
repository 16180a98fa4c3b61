"""Pretraining on damaged manifests and through deaths of workers: exactly which patches were trained on and which were bad."""

import os
import signal
import threading
import time

import psutil
import pyarrow.parquet as pq
import pytest

from tests.broken import damaged, import_table, names, random_rows, several
from wsc_ray.commands import pretrain
from wsc_ray.errors import BadInputError, DataError
from wsc_ray.pretrain import ending, metrics_file
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.quarantine import read_quarantine


@pytest.fixture(scope="module")
def patches(cohort):
    """The cohort's patches, and as many slides again four times: 720 to train on."""
    return several(pq.read_table(cohort), 5)


@pytest.fixture
def epoch(settings):
    """One pass over every training patch, with an encoder and steps that cost little."""
    settings["stream"] |= {"shards": 8, "retries": 0, "record": True}
    settings["train"] |= {"epochs": 1, "steps_per_epoch": None, "batch_size": 64, "log_every": 2, "checkpoint_every": 3}
    return settings


def listed(run):
    return {(row["slide_id"], row["x"], row["y"]) for row in read_quarantine(run).table().to_pylist()}


def test_one_per_cent_damaged_trains_to_the_end_the_same_with_one_worker_and_with_two_through_a_death(
    ray_cluster, epoch, patches, tmp_path, capfd
):
    rows = random_rows(patches, 0.01)
    epoch["data"]["manifest"] = str(import_table(damaged(patches, rows), tmp_path))
    epoch["train"]["workers"] = 1
    summaries = {"1": pretrain(recipe=validate_recipe(epoch), out=tmp_path / "1")}
    said = capfd.readouterr().err
    assert f"{len(rows)} unreadable patches so far" in said
    assert "quarantine.parquet lists them" in said

    # One of two workers is killed in mid-epoch, after a checkpoint and some more steps.
    epoch["train"]["workers"] = 2
    killer = Killer(tmp_path / "killed" / "metrics.jsonl", lines=2)
    summaries["killed"] = pretrain(recipe=validate_recipe(epoch), out=tmp_path / "killed")
    assert killer.killed()

    tables = [read_quarantine(tmp_path / name).table() for name in summaries]
    for name, table in zip(summaries, tables, strict=True):
        assert summaries[name]["bad_patches"] == len(rows) == 7
        assert listed(tmp_path / name) == names(patches, rows)
        assert table.equals(tables[0])
        assert summaries[name]["steps_done"] == 12
        assert metrics_file.read(tmp_path / name / "metrics.jsonl")[-1]["bad_patches"] == len(rows)
    assert len({summary["samples_sha256"] for summary in summaries.values()}) == 1


def test_five_per_cent_damaged_stops_with_the_sentence_and_goes_on_once_allowed(
    ray_cluster, epoch, patches, tmp_path, wsc_ray_command
):
    rows = random_rows(patches, 0.05)
    epoch["data"]["manifest"] = str(import_table(damaged(patches, rows), tmp_path))
    run = tmp_path / "run"
    (tmp_path / "recipe.yaml").write_text(validate_recipe(epoch).to_yaml())
    status, said = wsc_ray_command("pretrain", tmp_path / "recipe.yaml", "--out", run)
    assert status == 2
    found = listed(run)
    assert f"{len(found)} of 720 training patches ({len(found) / 720:.1%}) cannot be read" in said
    assert "stream.max_bad_fraction allows 0.01" in said
    assert str(run / "quarantine.parquet") in said
    assert said.count("the image cannot be decoded") == 3
    assert found <= names(patches, rows)
    steps = [line["step"] for line in metrics_file.read(run / "metrics.jsonl")]
    assert steps == sorted(set(steps))  # stopped at once: no worker began again
    assert steps[-1] < 12
    assert not (run / "summary.json").exists()

    epoch["stream"]["max_bad_fraction"] = 0.1
    summary = pretrain(recipe=validate_recipe(epoch), out=run)
    assert summary["steps_done"] == 12
    assert listed(run) == names(patches, rows)


def test_what_only_the_user_can_mend_is_not_tried_again(ray_cluster, epoch, cohort, tmp_path):
    table = pq.read_table(cohort)
    rows = [row for row, label in enumerate(table["slide_label"].to_pylist()) if label == 0]
    epoch["data"]["manifest"] = str(import_table(damaged(table, rows), tmp_path))
    epoch["stream"]["max_bad_fraction"] = 1.0
    epoch["train"] |= {"batch_size": 16, "max_failures": -1}
    with pytest.raises(
        DataError, match=r"none of the \d+ patches of a class can be read; .*slide .*: .*cannot be decoded"
    ) as raised:
        pretrain(recipe=validate_recipe(epoch), out=tmp_path / "run")
    assert not isinstance(raised.value, BadInputError)
    assert ending.read(tmp_path / "run") is not None


class Killer:
    """Kills a training worker, without warning, once a run has logged so many lines."""

    def __init__(self, metrics, *, lines):
        self.metrics, self.lines, self.pid = metrics, lines, None
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def killed(self):
        self.thread.join(timeout=10)
        return self.pid

    def _watch(self):
        while len(metrics_file.read(self.metrics)) < self.lines:
            time.sleep(0.02)
        workers = [
            p.pid for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())
        ]
        if workers:
            self.pid = workers[0]
            os.kill(self.pid, signal.SIGKILL)
