"""The recipe: defaults, overrides, and every problem said at once."""

import pytest
import yaml

from wsc_ray.commands import init
from wsc_ray.errors import RecipeError
from wsc_ray.recipe.reading import load_recipe, validate_recipe
from wsc_ray.recipe.sections import Recipe, sections
from wsc_ray.recipe.template import recipe_template


def problems(values):
    with pytest.raises(RecipeError) as caught:
        validate_recipe(values)
    return "\n".join(caught.value.problems)


def test_defaults_are_the_papers():
    recipe = Recipe()
    assert (recipe.train.batch_size, recipe.train.epochs, recipe.train.steps_per_epoch) == (512, 100, 5000)
    assert (recipe.train.lr, recipe.train.momentum, recipe.train.weight_decay) == (0.2, 0.9, 1e-4)
    assert (recipe.loss.temperature, recipe.loss.base_temperature, recipe.loss.similarity_weight) == (0.1, 0.07, 1.0)
    assert recipe.train.milestones == [16, 28, 40, 50, 60, 68, 76, 83, 90]
    assert recipe.stream.sampling == "replacement"


def test_every_setting_says_what_it_is():
    for name, section in sections().items():
        for key, field in section.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_the_template_is_the_default_recipe_and_comments_every_line(tmp_path):
    text = init(out=tmp_path / "wsc-ray.yaml").read_text()
    assert text == recipe_template()
    assert validate_recipe(yaml.safe_load(text)) == Recipe()
    settings = [line for line in text.splitlines() if ": " in line and not line.startswith("#")]
    assert all("  # " in line for line in settings)


def test_unknown_keys_get_a_suggestion():
    assert "`train.epoch`: unknown, did you mean `train.epochs`?" in problems({"train": {"epoch": 3}})
    assert "`los`: unknown, did you mean `loss`?" in problems({"los": {}})
    assert "`lr`: unknown, did you mean `train.lr` or `tune.lr`?" in problems({"lr": 0.1})
    assert "there are" in problems({"train": {"zzzz": 3}})


def test_everything_wrong_is_said_together():
    text = problems({"train": {"epoch": 3, "workers": "two", "batch_size": 30}, "stream": {"shards": 7}, "seed": -1})
    assert "`train.epoch`" in text
    assert "`train.workers`" in text
    assert "`seed`" in text
    assert "`stream.shards`: 7 does not divide 15" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": {"batch_size": 31}}, "is odd"),
        ({"train": {"workers": 65}}, "`train.workers`: 65 workers cannot share 64 shards"),
        ({"train": {"workers": 2, "min_workers": 3}}, "`train.min_workers`: 3 is more than train.workers (2)"),
        ({"augment": {"scale": [1.0, 0.2]}}, "put the smaller first"),
        ({"augment": {"scale": [0.0, 0.0]}}, "no area"),
        ({"train": {"steps_per_epoch": None}}, "needs stream.sampling: epoch"),
        ({"data": {"pure": ["a"], "mixed": ["a", "b"]}}, "either pure or mixed"),
        ({"data": {"mixed": []}}, "no label is mixed"),
        ({"data": {"val_split": "train"}}, "three names"),
        ({"train": {"schedule": "cosine", "epochs": 2}}, "leaves none"),
        ({"train": {"device": "cpu", "precision": "bf16"}}, "needs a GPU"),
        ({"loss": {"temperature": 0}}, "`loss.temperature`"),
        ({"loss": {"temperature": float("nan")}}, "`loss.temperature`"),
        ({"train": 3}, "`train`: 3 is not a section"),
        ({"tune": {"hidden": []}}, "`tune.hidden`"),
        ({"tracking": {"uri": "https://me:secret@mlflow"}}, "`tracking.uri`: it holds a password"),
    ],
)
def test_impossible_values(values, said):
    assert said in problems(values)
    assert "secret" not in problems(values)


def test_overrides(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("train: {lr: 0.1}\n")
    recipe = load_recipe(path, ["train.lr=1e-4", "loss.method=simclr", "data.pure=[benign, normal]", "data.manifest=m"])
    assert recipe.train.lr == 1e-4
    assert recipe.loss.method == "simclr"
    assert recipe.data.pure == ["benign", "normal"]
    for bad in ("train.lr", "=3", "train..lr=3", "seed.x=1", "train.lr=[1"):
        with pytest.raises(RecipeError):
            load_recipe(path, [bad])


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="wsc-ray init"):
        load_recipe(tmp_path / "missing.yaml")
    for text in ("- a\n", "a: [1\n", "just words"):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(RecipeError):
            load_recipe(path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a UTF-8"):
        load_recipe(tmp_path / "binary.yaml")


def test_the_recipe_in_this_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe() == Recipe()
    (tmp_path / "wsc-ray.yaml").write_text("seed: 7\n")
    assert load_recipe().seed == 7


def test_the_digest_is_of_what_decides_the_weights():
    base = Recipe().digest()
    same = {"train": {"workers": 2, "log_every": 1}, "tune": {"trials": 3}, "tracking": {"experiment": "x"}}
    assert validate_recipe(same).digest() == base
    assert validate_recipe({"train": {"lr": 0.1}}).digest() != base
    assert validate_recipe({"seed": 1}).digest() != base


def test_a_recipe_survives_its_yaml():
    recipe = validate_recipe({"train": {"lr": 1e-5}, "augment": {"scale": [0.5, 1.0]}})
    assert validate_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
