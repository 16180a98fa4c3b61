"""The loop and checkpoints, without Ray: batches straight from the stream's own reading."""

import numpy as np
import pytest
import torch

from wsc_ray.encoders import build_encoder
from wsc_ray.errors import RunFolderError
from wsc_ray.manifest import open_manifest
from wsc_ray.pretrain import checkpoint
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window


class Training:
    """One process training on a recipe, kept apart from where it reports."""

    def __init__(self, settings, folder):
        self.recipe = validate_recipe(settings)
        self.manifest = open_manifest(self.recipe.data.manifest)
        self.plan = make_plan(self.manifest, self.recipe)
        self.folder, self.logged = folder, []
        torch.manual_seed(0)
        config = self.recipe.encoder
        self.encoder = build_encoder(config.backbone, size=32, head_hidden=config.head_hidden, head_dim=config.head_dim)
        self.optimizer = make_optimizer(self.encoder, self.recipe)

    def batches(self, first_step):
        geometry = self.plan.geometry
        for epoch in range(self.plan.epochs):
            for window in range(geometry.windows):
                yield from read_window(
                    self.plan,
                    self.manifest,
                    self.recipe.augment,
                    epoch=epoch,
                    window=window,
                    shards=range(geometry.shards),
                    first_step=first_step,
                    stream=self.recipe.stream,
                )

    def save(self, step, metrics):
        folder = self.folder / str(step)
        folder.mkdir(parents=True, exist_ok=True)
        state = checkpoint.State(step, self.plan.geometry.steps, self.recipe.digest(), 1, share=self.training.share)
        checkpoint.save(folder, self.encoder, self.optimizer, state)
        checkpoint.save_rng(folder, 0)

    def loop(self, share=0.0):
        return Loop(
            model=self.encoder,
            optimizer=self.optimizer,
            objective=make_objective(self.recipe.loss, self.plan.pure),
            recipe=self.recipe,
            geometry=self.plan.geometry,
            device=torch.device("cpu"),
            precision="fp32",
            on_log=lambda step, metrics: self.logged.append((step, metrics)),
            on_checkpoint=self.save,
            share=share,
        )

    def run(self, first_step=0, share=0.0):
        self.training = self.loop(share)
        self.done = self.training.run(self.batches(first_step), first_step)
        return self


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.encoder.state_dict().values()])


@pytest.mark.parametrize("method", ["weaksupcon", "simclr", "supcon"])
def test_every_method_trains(settings, tmp_path, method):
    settings["loss"]["method"] = method
    training = Training(settings, tmp_path)
    before = weights(training)
    assert training.run().done == 8
    assert [step for step, _ in training.logged] == list(range(1, 9))
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in training.logged)
    assert (weights(training) != before).any()
    if method != "weaksupcon":
        assert all(m["similarity"] == 0 and m["loss"] == m["contrastive"] for _, m in training.logged)
    else:
        weight = training.logged[3][1]["similarity_weight"]
        m = training.logged[3][1]
        assert m["loss"] == pytest.approx(weight * m["similarity"] + m["contrastive"], rel=1e-5)


@pytest.mark.parametrize("warmup", [4, "progress"])
def test_a_resumed_run_ends_with_the_same_weights(settings, tmp_path, warmup):
    settings["loss"]["similarity_warmup"] = warmup
    whole = Training(settings, tmp_path / "whole").run()
    resumed = Training(settings, tmp_path / "resumed")
    resumed.encoder.load_state_dict({k: torch.full_like(v, 3) for k, v in resumed.encoder.state_dict().items()})
    state = checkpoint.load(
        tmp_path / "whole" / "4", resumed.encoder, resumed.optimizer, rank=0, digest=resumed.recipe.digest()
    )
    assert state.step == 4
    if warmup == "progress":
        assert state.share > 0
    assert resumed.run(first_step=4, share=state.share).done == 8
    assert [step for step, _ in resumed.logged] == [5, 6, 7, 8]
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    for key in ("loss", "similarity", "contrastive", "lr", "similarity_weight"):
        assert [m[key] for _, m in resumed.logged] == [m[key] for _, m in whole.logged[4:]]


def test_a_checkpoint_of_another_recipe_is_refused(settings, tmp_path):
    training = Training(settings, tmp_path).run()
    with pytest.raises(RunFolderError, match="another recipe"):
        checkpoint.load(tmp_path / "8", training.encoder, training.optimizer, rank=0, digest="other")
    with pytest.raises(RunFolderError, match="not a checkpoint"):
        checkpoint.load_state(tmp_path)


def test_a_checkpoint_loads_without_pickle(settings, tmp_path):
    Training(settings, tmp_path).run()
    from safetensors.torch import load_file

    files = sorted(path.name for path in (tmp_path / "8").iterdir())
    assert files == ["model.safetensors", "rng-0.pt", "state.json", "trainer.pt"]
    assert load_file(tmp_path / "8" / "model.safetensors")
    for name in ("rng-0.pt", "trainer.pt"):
        torch.load(tmp_path / "8" / name, weights_only=True)


@pytest.mark.parametrize("on_collapse", ["warn", "stop"])
def test_collapse_is_logged_and_ends_training_where_asked_to(settings, tmp_path, on_collapse):
    # The similarity half outweighs everything from the first step.
    settings["loss"] = {"similarity_weight": 1000.0, "similarity_warmup": 0, "on_collapse": on_collapse}
    settings["train"] |= {"steps_per_epoch": 15, "lr": 0.001}
    training = Training(settings, tmp_path).run()
    collapsed = [step for step, metrics in training.logged if metrics["collapsed"]]
    assert 1 < collapsed[0] < 30  # young features are no collapse
    assert training.done == (collapsed[0] if on_collapse == "stop" else 30)
    assert (tmp_path / str(training.done) / "state.json").exists()


def test_views_made_on_the_device_are_nearly_those_of_the_stream(settings, tmp_path):
    settings["augment"] |= {"rotate90": True, "blur": 0.5, "hed": 0.05}
    there = Training(settings, tmp_path / "cpu")
    settings["stream"]["augment_on"] = "device"
    here = Training(settings, tmp_path / "device")
    batches = list(zip(there.batches(0), here.batches(0), strict=True))
    assert len(batches) == 8
    for with_views, with_images in batches:
        assert "views" not in with_images
        views = [training.loop()._views(batch) for training, batch in ((there, with_views), (here, with_images))]
        assert views[0].shape == views[1].shape
        assert (views[0].float() - views[1].float()).abs().mean() < 0.5  # of 255
    assert len(here.run().logged) == 8
