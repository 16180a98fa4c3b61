"""Collapse is distinguished from features early in training; training warns of it or stops."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from wsc_ray import commands
from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.errors import CollapseError
from wsc_ray.pretrain.collapse import feature_health, has_collapsed, sentence
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import Geometry


def test_one_point():
    health = feature_health(torch.ones(6, 2, 8) / math.sqrt(8))
    assert health == pytest.approx({"mean_cosine": 1, "effective_rank": 1, "alignment": 0, "uniformity": 0}, abs=1e-5)
    assert has_collapsed(health)


def test_spread_features():
    torch.manual_seed(0)
    views = normalize(torch.randn(128, 1, 16), dim=2).expand(-1, 2, -1)
    health = feature_health(views)
    assert abs(health["mean_cosine"]) < 0.02
    assert 15 < health["effective_rank"] <= 16
    assert health["alignment"] == 0
    assert health["uniformity"] < -3
    assert not has_collapsed(health)


def test_by_hand():
    views = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [-1, 0]]])
    health = feature_health(views)
    assert health["mean_cosine"] == pytest.approx((1 - 1 + 0 + 0) / 4)
    assert health["alignment"] == pytest.approx((2 + 4) / 2)
    assert health["uniformity"] == pytest.approx(math.log((1 + math.exp(-8) + 2 * math.exp(-4)) / 4))
    singular = torch.linalg.svdvals(views.flatten(0, 1))
    share = singular / singular.sum()
    assert health["effective_rank"] == pytest.approx(math.exp(-(share * share.log()).sum()))


def first_steps(steps: int = 60, **loss) -> dict[str, float]:
    """The metrics of the last of some steps of an adapter from new weights: features that share most of what they are, as a frozen
    encoder's do."""
    torch.manual_seed(0)
    encoder = PatchEncoder(FeatureMlp(MlpShape(32, (64,), 32)), 32, 32)
    train = {"epochs": 1, "steps_per_epoch": steps, "batch_size": 64, "lr": 0.1, "warmup_epochs": 0, "log_every": 1}
    recipe = validate_recipe({"loss": loss, "stream": {"shards": 1}, "train": train})
    patches = torch.randn(32) + 0.5 * torch.randn(64, 1, 32)

    def batches():
        for step in range(steps):
            views = patches + 0.1 * torch.randn(64, 2, 32)
            yield {"views": views.numpy(), "label": np.repeat([0, 1], 32), "step": np.full(64, step)}

    logged = []
    loop = Loop(
        model=encoder,
        optimizer=make_optimizer(encoder, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=Geometry(0, "replacement", 64, 1, steps, steps),
        device=torch.device("cpu"),
        precision="fp32",
        on_log=lambda step, metrics: logged.append(metrics),
        on_checkpoint=lambda step, metrics: None,
        statistics=None,
    )
    loop.run(batches(), 0)
    return logged[-1]


def test_by_default_the_first_steps_keep_features_apart():
    """The constant weight of the paper does not, at a learning rate without its warm-up."""
    at_first, constant, default = first_steps(1), first_steps(similarity_warmup=0), first_steps()
    assert constant["collapsed"]
    assert not default["collapsed"]
    assert default["mean_cosine"] < 0.9
    assert default["contrastive"] < at_first["contrastive"]
    assert 0 < default["similarity_weight"] < 1


def test_the_warning_names_the_setting():
    health = {"mean_cosine": 0.9996, "effective_rank": 1.04}
    said = sentence(1200, health, "weaksupcon")
    assert said.startswith(
        "step 1,200: the features have collapsed to one point (mean cosine 1.000, effective rank 1.0)"
    )
    assert "loss.similarity_warmup: progress" in said
    assert "loss.similarity_weight or train.lr" in said
    assert "similarity" not in sentence(1200, health, "supcon")
    assert "loss.temperature" in sentence(1200, health, "supcon")


def test_training_warns_of_collapse_or_stops_as_the_recipe_says(settings, tmp_path, ray_cluster, capfd):
    # The similarity half outweighs everything from the first step.
    settings["loss"] = {"similarity_weight": 1000.0, "similarity_warmup": 0, "on_collapse": "stop"}
    settings["train"] |= {"steps_per_epoch": 15, "lr": 0.001, "log_every": 5, "checkpoint_every": None, "workers": 1}
    run = tmp_path / "run"
    with pytest.raises(CollapseError, match=r"stopped at step .* collapsed to one point .* loss.similarity_weight"):
        commands.pretrain(recipe=validate_recipe(settings), out=run)
    assert not (run / "summary.json").exists()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["collapsed"] == 1
    assert lines[-1]["step"] < 30
    assert {"mean_cosine", "effective_rank", "alignment", "uniformity"} <= set(lines[0])

    said = capfd.readouterr().err
    assert said.count("warning: step") == 1
    assert "the features have collapsed to one point" in said

    # As the sentence says: the same run goes on from there once it is told only to warn.
    settings["loss"]["on_collapse"] = "warn"
    assert commands.pretrain(recipe=validate_recipe(settings), out=run)["steps_done"] == 30
