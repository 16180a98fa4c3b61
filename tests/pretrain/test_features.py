"""Training an adapter on features: the same result for any number of workers and through deaths, and what is refused."""

import json
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel

from tests.feature_files.stores import ENCODER, SLIDES, WIDTH, features_of, small_recipe, write_slide, write_store
from tests.kills import kill_in_the_middle, type_again
from tests.one_process import digest_of_one_process
from tests.pretrain.test_invariance import InDouble, apart
from wsc_ray.commands import pretrain
from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.adapter import read_adapter
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.errors import BadInputError, RunFolderError
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.storage import as_path
from wsc_ray.stream.order import worker_shards
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window
from wsc_ray.stream.source import open_source


def final_weights(run):
    state = load_file(run / "checkpoints" / "checkpoint_000000008" / "model.safetensors")
    return torch.cat([value.flatten() for _, value in sorted(state.items())])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("features") / "store")


@pytest.fixture
def settings(store, new_store):
    return small_recipe(store, new_store())


@pytest.fixture(scope="module")
def run(ray_cluster, store, tmp_path_factory):
    """A run on two workers, which was left alone."""
    folder = tmp_path_factory.mktemp("adapter")
    pretrain(recipe=validate_recipe(small_recipe(store, f"sqlite:///{folder}/mlflow.db")), out=folder / "run")
    return folder / "run"


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def test_two_workers_see_the_views_that_one_process_would_and_the_seed_decides_which(run, settings, tmp_path):
    """The weights are compared below, without Ray."""
    alone, other = (
        digest_of_one_process(validate_recipe(settings | {"seed": seed}), tmp_path / str(seed)) for seed in (0, 1)
    )
    assert summary_of(run)["samples_sha256"] == alone != other


def test_training_learns(run):
    assert [line["step"] for line in metrics_file.read(run / "metrics.jsonl")] == list(range(1, 9))
    initial = load_file(run / "initial.safetensors")
    moved = torch.cat([value.flatten() for _, value in sorted(initial.items())])
    assert (final_weights(run) - moved).norm() > 0.01 * moved.norm()


@pytest.mark.long
def test_a_killed_worker_is_replaced_and_the_run_ends_the_same(run, settings, tmp_path):
    wounded, killed = tmp_path / "wounded", []

    def kill_a_worker():
        while not killed:
            if len(metrics_file.read(wounded / "metrics.jsonl")) >= 3:
                below = psutil.Process().children(recursive=True)  # of this test's Ray, and of no other
                pid = next(one.pid for one in below if "RayTrainWorker" in " ".join(one.cmdline()))
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_a_worker, daemon=True)
    thread.start()
    summary = pretrain(recipe=validate_recipe(settings), out=wounded)
    thread.join(timeout=10)
    assert killed
    assert summary["samples_sha256"] == summary_of(run)["samples_sha256"]
    assert [line["step"] for line in metrics_file.read(wounded / "metrics.jsonl")] == list(range(1, 9))
    torch.testing.assert_close(final_weights(wounded), final_weights(run), rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.cluster
def test_a_killed_command_typed_again_goes_on_as_if_nothing_had_been(settings, tmp_path):
    """SIGKILL of the whole command between two checkpoints; then the same command."""
    settings["train"] |= {"steps_per_epoch": 200, "checkpoint_every": 30, "workers": 1}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(validate_recipe(settings).to_yaml())
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    kill_in_the_middle(recipe, killed, after=70, steps=400)
    assert not (killed / "summary.json").exists()
    for out in (killed, alone):
        type_again(recipe, out)
    assert [line["step"] for line in metrics_file.read(killed / "metrics.jsonl")] == list(range(1, 401))
    assert summary_of(killed)["samples_sha256"] == summary_of(alone)["samples_sha256"]
    weights = [load_file(folder / "encoder" / "model.safetensors") for folder in (killed, alone)]
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[0][name], value, rtol=1e-5, atol=1e-6)


def on_worker(rank: int, workers: int, settings: dict) -> dict[str, torch.Tensor]:
    """All of a run in double precision, which leaves only what the number of workers does."""
    recipe = validate_recipe(settings)
    table = open_source(recipe.data)
    plan = make_plan(table, recipe)
    torch.manual_seed(0)
    encoder = PatchEncoder(FeatureMlp(MlpShape(WIDTH, (16,), 12)), 12, 8)
    model = InDouble(encoder)
    loop = Loop(
        model=model if workers == 1 else DistributedDataParallel(model),
        optimizer=make_optimizer(encoder, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=plan.geometry,
        device=torch.device("cpu"),
        precision="fp32",
        on_log=lambda step, metrics: None,
        on_checkpoint=lambda step, metrics: None,
        statistics=None,
    )
    shards = worker_shards(plan.geometry.shards, rank, workers)
    batches = (
        batch
        for epoch in range(plan.epochs)
        for window in range(plan.geometry.windows)
        for batch in read_window(plan, table, recipe.augment, epoch=epoch, window=window, shards=shards)
    )
    assert loop.run(batches, 0) == plan.total_steps
    return {name: value.clone() for name, value in encoder.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["weaksupcon", "simclr", "supcon"])
def test_any_number_of_workers_ends_with_the_same_weights(gang_of, settings, method):
    """Three of them share four shards unevenly; also in micro-batches."""
    settings["loss"]["method"] = method
    (expected,) = gang_of(1)(on_worker, 1, settings)
    for workers in (2, 3, 4):
        for found in gang_of(workers)(on_worker, workers, settings):
            assert apart(found, expected) < 1e-8
    settings["train"]["micro_batch"] = 3
    for found in gang_of(2)(on_worker, 2, settings):
        assert apart(found, expected) < 1e-8


def test_a_run_says_which_features_it_takes(run, store):
    adapter = read_adapter(as_path(run / "encoder"))
    assert adapter.shape == MlpShape(WIDTH, (16,), 12)
    assert adapter.encoder == ENCODER
    identity = json.loads((run / "identity.json").read_text())
    assert identity["features"] == {
        "uri": str(store),
        "digest": open_source(validate_recipe(small_recipe(store)).data).digest,
    }
    assert "manifest" not in identity
    assert summary_of(run)["features"] == str(store)
    state = load_file(run / "checkpoints" / "checkpoint_000000008" / "model.safetensors")
    module = FeatureMlp(adapter.shape)
    module.load_state_dict(
        {name.removeprefix("backbone."): v for name, v in state.items() if name.startswith("backbone.")}
    )
    features = features_of("p0", 5)[:, 0].astype(np.float32)
    np.testing.assert_allclose(adapter(features), module(torch.from_numpy(features)).detach().numpy(), rtol=1e-6)


def test_a_run_goes_on_only_with_the_features_that_it_had(run, settings, tmp_path):
    settings["data"]["features"] = str(write_store(tmp_path / "moved"))
    assert pretrain(recipe=validate_recipe(settings), out=run)["already_complete"]  # the same, elsewhere
    settings["data"]["features"] = str(write_store(tmp_path / "other", encoder="f" * 64))
    with pytest.raises(RunFolderError, match="the features' content: it is another now"):
        pretrain(recipe=validate_recipe(settings), out=run)
    settings["encoder"]["mlp_width"] = 10
    with pytest.raises(RunFolderError, match=r"`encoder.mlp_width`: 12 there, 10 here"):
        pretrain(recipe=validate_recipe(settings), out=run)


def test_too_many_views_that_are_no_numbers_stop_the_run(ray_cluster, settings, tmp_path, wsc_ray_command):
    store = write_store(tmp_path / "store")
    for slide in ("n1", "p1"):
        write_slide(store, slide, np.full_like(features_of(slide, SLIDES[slide][1]), np.nan))
    settings["data"]["features"] = str(store)
    settings["train"] |= {"workers": 1, "steps_per_epoch": 12}
    settings["stream"]["retries"] = 0
    with pytest.raises(BadInputError, match=r"training patches .* cannot be read.*its views hold NaN or infinity"):
        pretrain(recipe=validate_recipe(settings), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["encoder.backbone=resnet18"], "`encoder.backbone`: resnet18 takes pixels, and the run trains on features"),
        (["encoder.weights=imagenet"], "`encoder.weights`: there are no ImageNet weights for mlp"),
        (["data.manifest=cohort"], "`data.features`: a run trains on features or on the pixels of a manifest"),
        (["stream.augment_on=device"], "`stream.augment_on`: device makes views of images"),
        (["encoder.pixel_mean=[0.5, 0.5, 0.5]"], "`encoder.pixel_mean`: features have no pixels"),
        (["data.features=null", "data.manifest=cohort"], "`data.features`: missing; encoder.backbone: mlp trains on features"),
        (["data.features=nowhere"], "nowhere holds no features"),
        (["data.features=plain"], "holds no views of each patch (slide n0)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(settings, tmp_path, monkeypatch, wsc_ray_command, change, said):
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "plain", views=None)
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    overrides = [word for each in change for word in ("--set", each)]
    status, text = wsc_ray_command("pretrain", tmp_path / "recipe.yaml", "--out", tmp_path / "run", *overrides)
    assert status == 2, text
    assert said in text
    assert not (tmp_path / "run").exists()
