"""`predict` with an encoder of features: plain features go through it first, its own are taken as they are, pixels are refused."""

from __future__ import annotations

import csv

import pytest
import torch

from tests.feature_files.stores import SLIDES, small_recipe, write_store
from wsc_ray.commands import embed, predict, pretrain
from wsc_ray.errors import DataError
from wsc_ray.features.store import read_slide
from wsc_ray.files import read_json, write_json
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.recipe.reading import validate_recipe


def test_plain_features_go_through_the_adapter(tmp_path, monkeypatch):
    store = write_store(tmp_path / "store", SLIDES)
    recipe = small_recipe(store, f"sqlite:///{tmp_path}/mlflow.db")
    recipe["train"]["epochs"] = 0
    run = tmp_path / "run"
    pretrain(recipe=validate_recipe(recipe), out=run)
    embed(run=run)
    torch.manual_seed(0)
    setting = AttentionSettings(lr=1e-3, weight_decay=0.0, dropout=0.0, hidden=4, attention=4, gated=True)
    head = setting.build(read_slide(run / "features", "n0").features.shape[1], 2)
    save_head(run / "mil", head, setting, ["negative", "positive"], {"embed": encoder_of(run / "features")})

    def probabilities(out):
        with (out / "predictions.csv").open() as file:
            return {row["slide_id"]: float(row["prob_positive"]) for row in csv.DictReader(file)}

    predict(features=store, run=run, out=tmp_path / "plain")
    predict(features=run / "features", run=run, out=tmp_path / "adapted")
    assert probabilities(tmp_path / "plain") == pytest.approx(probabilities(tmp_path / "adapted"), abs=1e-6)
    assert set(probabilities(tmp_path / "plain")) == set(SLIDES)
    with pytest.raises(DataError, match="sees no pixels"):
        predict(manifest=str(tmp_path / "manifest"), run=run, out=tmp_path / "pixels")
    write_json(store / "identity.json", read_json(store / "identity.json") | {"encoder": "f" * 64})
    with pytest.raises(DataError, match="by another encoder"):
        predict(features=store, run=run, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "pixels").exists()
