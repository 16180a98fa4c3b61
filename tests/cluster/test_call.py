"""What travels to a cluster: absolute paths, ids that follow from the place, no passwords."""

import dataclasses
import json
from pathlib import Path

import pytest

from wsc_ray.commands import all_commands, find_command
from wsc_ray.errors import ClusterError, ManifestError, RecipeError
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.remote.money import Spending
from wsc_ray.submit import call as calls
from wsc_ray.submit.jobs import Jobs, entry_file, entrypoint


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**settings):
    return validate_recipe({"data": {"manifest": "cohort"}} | settings)


def make_call(command, *, storage=None, **arguments):
    return calls.make_call(find_command(command), arguments, storage=storage)


def test_paths_are_made_absolute_where_the_command_is_typed(here):
    made = make_call("pretrain", recipe=recipe(encoder={"weights": "w.safetensors"}), out="run", start_from="c/1")
    assert made.out == str(here / "run")
    assert made.arguments == {"recipe": "recipe.yaml", "out": str(here / "run"), "start_from": str(here / "c" / "1")}
    assert made.recipe.data.manifest == str(here / "cohort")
    assert made.recipe.encoder.weights == str(here / "w.safetensors")
    elsewhere = make_call("pretrain", recipe=recipe(data={"manifest": "s3://b/cohort"}), out="run")
    assert elsewhere.recipe.data.manifest == "s3://b/cohort"
    assert make_call("pretrain", recipe=recipe(), out="run").recipe.encoder.weights == "imagenet"


def test_later_commands_work_where_their_results_belong(here):
    for command, folder in (("embed", "features"), ("tune", "mil"), ("evaluate", "evaluate")):
        made = make_call(command, run="run")
        assert made.out == made.arguments["out"] == str(here / "run" / folder)
        assert made.arguments["run"] == str(here / "run")
    assert make_call("tune", run="run", out="elsewhere").out == str(here / "elsewhere")
    made = make_call("embed", run="run", overrides=["embed.batch_size=8"])
    assert made.recipe is None, "the run folder's, which only the cluster may see"
    assert made.arguments["overrides"] == ["embed.batch_size=8"]


def test_slides_to_predict_travel_as_a_list_or_as_the_path_of_their_folder(here):
    (here / "new.csv").write_text("path\na.svs\n")
    made = make_call("predict", slides="new.csv", run="run")
    assert made.out == str(here / "run" / "predict")
    assert made.files == {"slides.csv": "path\na.svs\n"}
    assert (made.arguments["slides"], made.arguments["folder"]) == ("slides.csv", str(here))
    (here / "slides").mkdir()
    made = make_call("predict", slides="slides", run="run")
    assert made.files == {}
    assert made.arguments["slides"] == str(here / "slides")


def test_results_to_compare_travel_as_paths(here):
    made = make_call("evaluate", results=("run", "s3://b/other", "theirs.csv"), compare=True, out="compared")
    assert made.arguments["results"] == [str(here / "run"), "s3://b/other", str(here / "theirs.csv")]
    assert (made.arguments["compare"], made.out) == (True, str(here / "compared"))


def test_an_encoder_that_is_no_folder_travels_as_it_is_written(here):
    def sent(encoder):
        return make_call("embed", manifest="cohort", encoder=encoder, out="features").arguments["encoder"]

    assert sent("timm:resnet18.tv_in1k") == "timm:resnet18.tv_in1k"
    assert sent("local-dir:uni") == f"local-dir:{here / 'uni'}"
    assert sent("local-dir:s3://bucket/uni") == "local-dir:s3://bucket/uni"
    assert sent("run/encoder") == str(here / "run" / "encoder")


def test_a_manifest_is_checked_where_it_lies(here):
    made = make_call("manifest check", manifest="cohort", all=True)
    assert made.out == str(here / "cohort")
    assert made.arguments == {"manifest": str(here / "cohort"), "all": True}


@pytest.mark.parametrize("command", ["predict", "evaluate", "tune", "probe"])
def test_the_manifest_of_a_run_is_not_checked_for_commands_that_do_not_read_it(command):
    """They read its features; the patches may be gone, or lie where only the nodes of the training saw them."""
    assert not make_call(command, run="r").checks_manifest


@pytest.mark.parametrize("given", [{"manifest": "cohort"}, {"features": "f"}], ids=["manifest", "features"])
def test_what_predict_is_asked_about_is_checked(given):
    assert make_call("predict", run="r", **given).checks_manifest


@pytest.mark.parametrize("command", ["pretrain", "embed"])
def test_the_manifest_is_checked_for_commands_that_read_it(command):
    assert make_call(command, recipe=recipe(), out="r").checks_manifest


def test_a_run_without_a_folder_goes_to_one_of_its_recipes_name(here):
    Path("tumour.yaml").write_text("data: {manifest: cohort}")
    assert make_call("pretrain", recipe="tumour.yaml").out == str(here / "runs" / "tumour")
    assert make_call("pretrain", recipe="tumour.yaml", storage="/mnt/lab").out == "/mnt/lab/runs/tumour"
    assert make_call("pretrain", recipe="tumour.yaml", storage="/mnt/lab", out="r").out == str(here / "r")
    own = "s3://lab/x/?endpoint_override=minio:9000&scheme=http"
    there = make_call("pretrain", recipe="tumour.yaml", storage=own).out
    assert there == "s3://lab/x/runs/tumour?endpoint_override=minio:9000&scheme=http"
    Path("wsc-ray.yaml").write_text("data: {manifest: cohort}")
    assert make_call("pretrain").out == str(here / "runs" / "wsc-ray")


def test_an_id_follows_from_command_and_place_alone():
    stem = make_call("pretrain", recipe=recipe(), out="my run (2)").stem
    assert stem == make_call("pretrain", recipe=recipe(seed=1), out="my run (2)").stem
    assert stem.startswith("wsc-ray-pretrain-my-run-2-")
    assert stem != make_call("pretrain", recipe=recipe(), out="other/my run (2)").stem
    assert make_call("embed", run="run").stem != make_call("tune", run="run").stem


def test_a_digest_follows_from_all_that_is_asked():
    one = make_call("pretrain", recipe=recipe(), out="run")
    assert one.digest == make_call("pretrain", recipe=recipe(), out="run").digest
    others = [
        make_call("pretrain", recipe=recipe(train={"workers": 2}), out="run"),
        make_call("pretrain", recipe=recipe(), out="run", start_from="c"),
    ]
    assert one.digest not in {other.digest for other in others}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"manifest": "s3://key:hush@bucket/cohort"}, "IAM role"),
        ({"overrides": ["tracking.uri=https://me:hush@mlflow.example"]}, "mlflow.example holds a password"),
        ({"environment": "https://me:hush@mlflow.example"}, "mlflow.example holds a password"),
    ],
)
def test_a_password_does_not_travel(monkeypatch, wrong, said):
    if "environment" in wrong:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", wrong.pop("environment"))
    with pytest.raises(ClusterError, match=said) as error:
        make_call("embed", run="run", **wrong)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"data": {"manifest": "s3://key:hush@bucket/cohort"}},
        {"encoder": {"weights": "s3://key:hush@bucket/w.safetensors"}},
        {"stream": {"by": "cluster", "features": "s3://key:hush@bucket/features"}},
    ],
)
def test_a_password_in_a_recipe_does_not_travel(setting):
    """The recipe would arrive without it, and the job would be refused where nobody looks."""
    with pytest.raises(ClusterError, match="holds a password or key") as error:
        make_call("run", recipe=recipe(**setting), out="run")
    assert "hush" not in str(error.value)


def test_the_store_of_the_environment_travels(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert make_call("embed", run="run").environment == {"MLFLOW_TRACKING_URI": "http://mlflow.example:5000"}


def test_a_list_of_slides_travels_and_the_slides_stay(here):
    (here / "lists").mkdir()
    (here / "lists" / "s.tsv").write_text("path\tlabel\tsplit\n")
    options = {"slides": "lists/s.tsv", "out": "m", "constants": {"split": "train", "mpp": "0.5"}, "skip_bad": True}
    made = make_call("tile", **options, mpp=0.5)
    assert (made.command, made.out) == ("tile", str(here / "m"))
    assert made.files == {"slides.tsv": "path\tlabel\tsplit\n"}
    assert made.arguments == {
        "slides": "slides.tsv",
        "out": str(here / "m"),
        "folder": str(here / "lists"),
        "constants": {"split": "train", "mpp": "0.5"},
        "mpp": 0.5,
        "skip_bad": True,
        "recipe": "recipe.yaml",
    }
    assert not made.checks_manifest
    (here / "lists" / "s.tsv").write_text("path\tlabel\tsplit\na.svs\tx\ttrain\n")
    assert make_call("tile", **options, mpp=0.5).digest != made.digest
    assert make_call("tile", **options | {"folder": "/data"}).arguments["folder"] == "/data"
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        make_call("tile", slides="none.csv", out="m")


def test_the_list_that_a_recipe_names_travels_too(here):
    (here / "s.csv").write_text("path,label,split\n")
    recipe = validate_recipe({"tile": {"slides": "s.csv", "folder": "slides", "mpp": 1.0}, "data": {"manifest": "m"}})
    made = make_call("tile", recipe=recipe)
    assert made.out == str(here / "m")
    assert made.files == {"slides.csv": "path,label,split\n"}
    assert made.arguments == {
        "slides": "slides.csv",
        "folder": str(here / "slides"),
        "out": str(here / "m"),
        "recipe": "recipe.yaml",
    }
    assert made.recipe.tile.mpp == 1.0
    run = make_call("run", recipe=recipe, out="run")
    assert run.recipe.tile.slides == str(here / "s.csv")
    assert not run.checks_manifest
    assert make_call("tile", slides="s3://bucket/slides", out="m").arguments["slides"] == "s3://bucket/slides"
    with pytest.raises(RecipeError, match=r"--out: missing; give it, or data\.manifest"):
        make_call("tile", slides="s.csv")


def test_what_is_missing_or_no_folder_is_said_before_anything_is_sent():
    with pytest.raises(RecipeError, match=r"data\.manifest"):
        make_call("pretrain", recipe=validate_recipe({}), out="run")
    with pytest.raises(RecipeError, match="--run: missing"):
        make_call("tune")


def test_a_run_may_lie_in_a_bucket():
    made = make_call("embed", run="s3://bucket/run?region=eu-west-1")
    assert made.out == "s3://bucket/run/features?region=eu-west-1"
    assert make_call("pretrain", recipe=recipe(), storage="s3://bucket/lab").out == "s3://bucket/lab/runs/wsc-ray"


@pytest.mark.parametrize("declaration", [each for each in all_commands() if each.sent], ids=lambda each: each.name)
def test_every_command_that_can_be_sent_has_its_entry_and_its_options(declaration):
    wanted = {"address", "cluster", "down", *(each.name for each in dataclasses.fields(Spending))}
    assert wanted <= {parameter.name for parameter in declaration.parameters}
    entry = entry_file(declaration.name)
    assert entry.name == f"{declaration.function_name}.py"
    assert "from wsc_ray.entry import main" in entry.read_text()


def test_the_call_is_json_and_the_command_line_names_the_entry_alone():
    made = make_call("pretrain", recipe=recipe(), out="a b; rm c")
    assert entrypoint(made) == "python jobs/pretrain.py"
    assert json.loads(made.to_json()) == {"command": "pretrain", "out": made.out, "arguments": made.arguments}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "no cluster at http://127.0.0.1:9"),
        ("127.0.0.1:6379", "write it as http://HEAD:8265"),
        ("ray://127.0.0.1:10001", "write it as http://HEAD:8265"),
        ("http://me:hush@127.0.0.1:9", "write it as http://HEAD:8265"),
        (None, "which cluster?"),
    ],
)
def test_no_such_cluster_is_a_sentence(monkeypatch, address, said):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match=said) as error:
        Jobs(address)
    assert "hush" not in str(error.value)


def test_the_command_line_says_it_with_status_2(wsc_ray_command, settings, here):
    import yaml

    Path("r.yaml").write_text(yaml.safe_dump(settings))
    status, text = wsc_ray_command("pretrain", "r.yaml", "--out", "run", "--address", "http://127.0.0.1:9")
    assert status == 2
    assert text.startswith("wsc-ray: no cluster at http://127.0.0.1:9")
    status, text = wsc_ray_command("doctor", "--out", "run")
    assert status == 2
    assert "--address" in text
    assert not Path("run").exists()
