"""The recipe: defaults, overrides, and every problem said at once."""

import pytest
import yaml

from wsc_ray.commands import init
from wsc_ray.errors import RecipeError
from wsc_ray.recipe.reading import load_recipe, validate_recipe
from wsc_ray.recipe.sections import Recipe, limits, sections
from wsc_ray.recipe.template import recipe_template


def problems(values):
    with pytest.raises(RecipeError) as caught:
        validate_recipe(values)
    return "\n".join(caught.value.problems)


def test_defaults_are_the_papers_but_for_the_weight_that_follows():
    recipe = Recipe()
    assert (recipe.train.batch_size, recipe.train.epochs, recipe.train.steps_per_epoch) == (512, 100, 5000)
    assert (recipe.train.lr, recipe.train.momentum, recipe.train.weight_decay) == (0.2, 0.9, 1e-4)
    assert (recipe.loss.temperature, recipe.loss.base_temperature, recipe.loss.similarity_weight) == (0.1, 0.07, 1.0)
    assert recipe.loss.similarity_warmup == "progress"
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
        ({"data": {"pure": [0]}}, "`data.pure.0`: 0 is a number or a truth value; for the text write it in quotes"),
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


def number_schemas(schema):
    if schema.get("type") in ("integer", "number"):
        yield schema
    for inner in [*schema.get("anyOf", []), *schema.get("prefixItems", []), schema.get("items")]:
        if isinstance(inner, dict):
            yield from number_schemas(inner)


def test_every_number_has_an_upper_limit_and_the_template_says_it():
    template = recipe_template()
    for name, section in {**sections(), "": Recipe}.items():
        for key, schema in section.model_json_schema()["properties"].items():
            for number in number_schemas(schema):
                assert {"maximum", "exclusiveMaximum"} & set(number), f"{name}.{key}"
                assert {"minimum", "exclusiveMinimum"} & set(number), f"{name}.{key}"
                assert f"({limits(section, key)})" in template
    assert limits(sections()["train"], "workers") == "1 to 4096"
    assert limits(sections()["tune"], "lr") == "above 0 to 1000"
    assert limits(sections()["evaluate"], "confidence") == "above 0 to below 1"
    assert limits(sections()["data"], "manifest") == ""


@pytest.mark.parametrize(
    "override",
    [
        "tune.trials=2147483647",
        f"evaluate.bootstrap={2**63}",
        f"train.steps_per_epoch={10**30}",
        "train.steps_per_epoch=999999999",
        "augment.size=100000",
        "train.lr=1e308",
        "train.lr=nan",
        "train.lr=.inf",
        "train.lr=1e999",
        "loss.temperature=1e-320",
        "tune.lr=[1e-4, 1e300]",
        "tune.hidden=[1000000000]",
        "encoder.pixel_std=[1e-300, 1, 1]",
        "train.milestones=[99999999999999]",
        f"seed={'9' * 5000}",
        f"train.lr={'9' * 5000}",
        f"train.lr='{'9' * 5000}'",
        f"data.train_split={'x' * 100000}",
        f"train.{'x' * 100000}=1",
        f"train{'.x' * 50000}=1",
        f"{'x' * 100000}",
        f"train.lr={'[' * 50000}",
        "seed=2024-13-45",
        "seed=2024-01-01",
        "train.lr=!!int ''",
        "train.lr=0b_",
    ],
    ids=lambda text: text[:40],
)
def test_absurd_values_are_one_short_sentence(override):
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, [override])
    assert len(str(caught.value)) < 500
    assert len(caught.value.problems) == 1


def test_a_recipe_with_thousands_of_problems_lists_some(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("train: {" + ", ".join(f"x{n}: 1" for n in range(2000)) + "}")
    with pytest.raises(RecipeError, match="2,000 problems") as caught:
        load_recipe(path)
    assert str(caught.value).endswith("  and 1,950 more")
    path.write_text("\n".join(["x: 1"] * 100_000))
    with pytest.raises(RecipeError, match="longer than"):
        load_recipe(path)


def test_a_section_that_is_there_twice(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: {manifest: m}\ntrain: {epochs: 1}\ntrain: {batch_size: 16}\n")
    with pytest.raises(RecipeError, match="line 3: 'train' occurs twice, first in line 2"):
        load_recipe(path)


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
