"""Pretraining on real Ray Train workers: the same result for any number of them, and through their deaths."""

import json
import os
import signal
import threading
import time

import psutil
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from tests.conftest import small_recipe
from tests.kills import kill_in_the_middle, type_again
from wsc_ray.commands import pretrain
from wsc_ray.errors import ResourceError, RunFolderError
from wsc_ray.pretrain import metrics_file
from wsc_ray.recipe.reading import validate_recipe


def final_weights(run):
    state = load_file(run / "checkpoints" / "checkpoint_000000008" / "model.safetensors")
    return torch.cat([value.flatten().float() for _, value in sorted(state.items())])


@pytest.fixture
def transformer(settings):
    """An encoder without BatchNorm, whose statistics are each worker's own."""
    settings["encoder"]["backbone"] = "test_vit"
    return settings


@pytest.fixture(scope="module")
def run(ray_cluster, manifest, tmp_path_factory):
    """A run of that encoder on two workers, which was left alone."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = small_recipe(manifest, f"sqlite:///{folder}/mlflow.db")
    recipe["encoder"]["backbone"] = "test_vit"
    pretrain(recipe=validate_recipe(recipe), out=folder / "run")
    return folder / "run"


def test_one_and_two_workers_train_the_same_weights(run, transformer, tmp_path):
    transformer["train"]["workers"] = 1
    pretrain(recipe=validate_recipe(transformer), out=tmp_path / "1")
    one, two = (metrics_file.read(folder / "metrics.jsonl") for folder in (tmp_path / "1", run))
    assert [line["step"] for line in one] == [line["step"] for line in two] == list(range(1, 9))
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
    torch.testing.assert_close(final_weights(run), final_weights(tmp_path / "1"), rtol=1e-4, atol=1e-5)


def test_a_run_is_the_contract_between_commands(run, transformer, tmp_path):
    assert json.loads((run / "summary.json").read_text())["steps_done"] == 8
    names = {path.name for path in run.iterdir()}
    assert {
        "recipe.yaml",
        "identity.json",
        "mlflow.json",
        "metrics.jsonl",
        "checkpoints",
        "encoder",
        "summary.json",
    } <= names
    assert json.loads((run / "summary.json").read_text())["command"] == "pretrain"

    # The same command on a complete run starts nothing; a changed recipe is refused, with what differs.
    assert pretrain(recipe=validate_recipe(transformer), out=run)["already_complete"]
    transformer["train"]["lr"] = 0.5
    with pytest.raises(RunFolderError, match=r"`train.lr`: 0.05 there, 0.5 here"):
        pretrain(recipe=validate_recipe(transformer), out=run)

    # ... but its weights may start another run.
    transformer["train"] |= {"epochs": 0}
    begun = tmp_path / "begun"
    pretrain(recipe=validate_recipe(transformer), out=begun, start_from=run / "checkpoints" / "checkpoint_000000008")
    ours, theirs = (load_file(folder / "encoder" / "model.safetensors") for folder in (begun, run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.long  # `anywhere/test_bucket.py` says the same of a run on two nodes
@pytest.mark.cluster
def test_a_killed_command_typed_again_goes_on_as_if_nothing_had_been(settings, tmp_path):
    """SIGKILL of the whole command between two checkpoints; then the same command."""
    settings["encoder"]["backbone"] = "test_vit"
    settings["train"] |= {"steps_per_epoch": 30, "checkpoint_every": 7}
    recipe = validate_recipe(settings)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    run = tmp_path / "run"
    kill_in_the_middle(tmp_path / "recipe.yaml", run, after=10, steps=60)
    type_again(tmp_path / "recipe.yaml", run)
    assert [line["step"] for line in metrics_file.read(run / "metrics.jsonl")] == list(range(1, 61))

    client = MlflowClient(tracking_uri=recipe.tracking.uri)
    (tracked,) = client.search_runs([client.get_experiment_by_name("wsc-ray").experiment_id])
    assert tracked.info.status == "FINISHED"
    history = client.get_metric_history(tracked.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(1, 61))


@pytest.mark.long
def test_a_killed_worker_is_replaced_and_the_run_ends_the_same(run, transformer, tmp_path):
    wounded = tmp_path / "wounded"
    killed = []

    def kill_a_worker():
        while not killed:
            lines = metrics_file.read(wounded / "metrics.jsonl")
            if len(lines) >= 3:
                below = psutil.Process().children(recursive=True)  # of this test's Ray, and of no other
                pid = next(one.pid for one in below if "RayTrainWorker" in " ".join(one.cmdline()))
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_a_worker, daemon=True)
    thread.start()
    summary = pretrain(recipe=validate_recipe(transformer), out=wounded)
    thread.join(timeout=10)
    assert killed
    assert summary["steps_done"] == 8
    assert [line["step"] for line in metrics_file.read(wounded / "metrics.jsonl")] == list(range(1, 9))
    torch.testing.assert_close(final_weights(wounded), final_weights(run), rtol=1e-5, atol=1e-6)


def test_what_ray_would_wait_for_without_end_is_refused(ray_cluster, settings, tmp_path):
    settings["train"] |= {"workers": 4, "cpus_per_worker": 1}
    with pytest.raises(ResourceError, match="leave none of the cluster's 4"):
        pretrain(recipe=validate_recipe(settings), out=tmp_path / "run")
    settings["train"] |= {"workers": 1, "device": "cuda"}
    with pytest.raises(ResourceError, match="GPU"):
        pretrain(recipe=validate_recipe(settings), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
