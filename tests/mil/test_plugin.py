"""A head and a method from outside the package's files, as the docs say, all the way through their commands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.mil.cohort import write_store
from wsc_ray.commands import tune
from wsc_ray.errors import RecipeError
from wsc_ray.losses.method import METHODS
from wsc_ray.recipe.reading import validate_recipe

ROOT = Path(__file__).resolve().parents[2]


def example(page: str) -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    return block


def test_the_pages_head_is_tuned_and_evaluated(tmp_path):
    """In processes of their own: the plug-in must reach the workers in which trials run, which work in other folders."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "mean_std.py").write_text(example("add-a-head.md"))
    write_store(tmp_path / "features")
    recipe = {
        "tune": {"heads": ["mean-std", "mean"], "trials": 2, "epochs": 2, "seeds": 1},
        "evaluate": {"bootstrap": 100},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    environment = {**os.environ, "WSC_RAY_PLUGINS": "lab/mean_std.py", "PYTHONPATH": str(ROOT)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    for words in (
        ["tune", "--features", "features", "--out", "mil"],
        ["evaluate", "--features", "features", "--head", "mil", "--out", "evaluate"],
    ):
        command = [sys.executable, "-m", "wsc_ray", *words, "--recipe", "r.yaml"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    trials = [json.loads((tmp_path / f"mil/trials/trial-00{n}/trial.json").read_text()) for n in (0, 1)]
    assert [trial["setting"]["head"] for trial in trials] == ["mean-std", "mean"]
    header, *rows = (tmp_path / "mil" / "trials.csv").read_text().splitlines()
    assert "dropout" in header.split(",")
    assert len(rows) == 2


def test_a_head_that_is_not_known_is_a_sentence(tmp_path):
    write_store(tmp_path / "features")
    recipe = validate_recipe({"tune": {"heads": ["abmill"]}})
    with pytest.raises(
        RecipeError,
        match=r"tune.heads.*: there is no MIL head abmill \(did you mean abmil\?\); there are abmil, clam-mb, ",
    ):
        tune(features=tmp_path / "features", out=tmp_path / "mil", recipe=recipe)
    assert not (tmp_path / "mil").exists()


def test_the_pages_method_is_a_loss():
    namespace: dict = {}
    exec(compile(example("add-a-method.md"), "add-a-method.md", "exec"), namespace)  # noqa: S102
    try:
        method = METHODS["reverse"](1, 0.1, 0.07)
        views = torch.nn.functional.normalize(torch.randn(8, 2, 4), dim=-1)
        terms = method(views, torch.arange(8) % 2, 0.5)
        torch.testing.assert_close(terms.total, 0.5 * terms.similarity + terms.contrastive)
        assert method.contrasted(torch.tensor([0, 1])).tolist() == [True, False]
    finally:
        METHODS._things.pop("reverse")


def test_a_method_that_is_not_known_is_a_sentence(wsc_ray_command, settings, tmp_path):
    settings["loss"]["method"] = "simclear"
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(settings))
    status, text = wsc_ray_command("pretrain", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert status == 2
    assert (
        "`loss.method`: there is no pretraining method simclear (did you mean simclr?); there are simclr, supcon, weaksupcon"
        in text
    )
    assert not (tmp_path / "run").exists()
