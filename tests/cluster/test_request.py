"""What travels to a cluster: absolute paths, ids that follow from the place, no passwords."""

import inspect
from pathlib import Path

import pytest

from wsc_ray import commands
from wsc_ray.errors import ClusterError, ManifestError, RecipeError, RunFolderError
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.submit.jobs import Jobs, entry_file, entrypoint
from wsc_ray.submit.request import make_request, tile_request

SENT = ("pretrain", "embed", "tune")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**settings):
    return validate_recipe({"data": {"manifest": "cohort"}} | settings)


def test_paths_are_made_absolute_where_the_command_is_typed(here):
    made = make_request("pretrain", recipe=recipe(encoder={"weights": "w.safetensors"}), out="run", start_from="c/1")
    assert made.out == str(here / "run")
    assert made.arguments == ("--recipe", "recipe.yaml", "--out", str(here / "run"), "--from", str(here / "c" / "1"))
    assert made.recipe.data.manifest == str(here / "cohort")
    assert made.recipe.encoder.weights == str(here / "w.safetensors")
    assert (
        make_request("pretrain", recipe=recipe(data={"manifest": "s3://b/cohort"}), out="run").recipe.data.manifest
        == "s3://b/cohort"
    )
    assert make_request("pretrain", recipe=recipe(), out="run").recipe.encoder.weights == "imagenet"


def test_later_commands_work_where_their_results_belong(here):
    assert make_request("embed", run="run").out == str(here / "run" / "features")
    assert make_request("tune", run="run").out == str(here / "run" / "mil")
    assert make_request("tune", run="run", out="elsewhere").out == str(here / "elsewhere")
    made = make_request("embed", run="run", overrides=["embed.batch_size=8"])
    assert made.recipe is None, "the run folder's, which only the cluster may see"
    assert made.arguments[-2:] == ("--set", "embed.batch_size=8")


def test_an_id_follows_from_command_and_place_alone():
    stem = make_request("pretrain", recipe=recipe(), out="my run (2)").stem
    assert stem == make_request("pretrain", recipe=recipe(seed=1), out="my run (2)").stem
    assert stem.startswith("wsc-ray-pretrain-my-run-2-")
    assert stem != make_request("pretrain", recipe=recipe(), out="other/my run (2)").stem
    assert make_request("embed", run="run").stem != make_request("tune", run="run").stem


def test_a_digest_follows_from_all_that_is_asked():
    one = make_request("pretrain", recipe=recipe(), out="run")
    assert one.digest == make_request("pretrain", recipe=recipe(), out="run").digest
    others = [
        make_request("pretrain", recipe=recipe(train={"workers": 2}), out="run"),
        make_request("pretrain", recipe=recipe(), out="run", start_from="c"),
    ]
    assert one.digest not in {other.digest for other in others}


def test_the_command_line_is_one_a_shell_takes_apart_again():
    import shlex

    made = make_request("pretrain", recipe=recipe(), out="a b; rm c")
    assert shlex.split(entrypoint(made)) == ["python", "jobs/pretrain.py", *made.arguments]


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
        make_request("embed", run="run", **wrong)
    assert "hush" not in str(error.value)


def test_the_store_of_the_environment_travels(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert make_request("embed", run="run").environment == (("MLFLOW_TRACKING_URI", "http://mlflow.example:5000"),)


def test_a_list_of_slides_travels_and_the_slides_stay(here):
    (here / "lists").mkdir()
    (here / "lists" / "s.tsv").write_text("path\tlabel\tsplit\n")
    options = {"slides": "lists/s.tsv", "out": "m", "constants": {"split": "train", "mpp": "0.5"}, "skip_bad": True}
    made = tile_request(**options, mpp=0.5)
    assert (made.command, made.out) == ("tile", str(here / "m"))
    assert made.slides == ("slides.tsv", "path\tlabel\tsplit\n")
    words = "--slides slides.tsv --folder {} --constant split=train --constant mpp=0.5 --skip-bad --mpp 0.5"
    assert " ".join(made.arguments) == f"--out {here / 'm'} " + words.format(here / "lists")
    (here / "lists" / "s.tsv").write_text("path\tlabel\tsplit\na.svs\tx\ttrain\n")
    assert tile_request(**options, mpp=0.5).digest != made.digest
    assert tile_request(**options | {"folder": "/data"}).arguments[5] == "/data"
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        tile_request(slides="none.csv", out="m")


def test_what_is_missing_or_no_folder_is_said_before_anything_is_sent():
    with pytest.raises(RecipeError, match=r"data\.manifest"):
        make_request("pretrain", recipe=validate_recipe({}), out="run")
    with pytest.raises(RecipeError, match="--run: missing"):
        make_request("tune")
    with pytest.raises(RunFolderError, match="not a URI"):
        make_request("embed", run="s3://bucket/run")


@pytest.mark.parametrize("command", SENT)
def test_every_command_that_can_be_sent_has_its_entry_with_its_options(command):
    import runpy

    main = runpy.run_path(str(entry_file(command)))["main"]
    taken = {parameter.name for parameter in main.params}
    local = set(inspect.signature(getattr(commands, command)).parameters)
    assert {"address", "cluster", "down"} <= local
    sent = (
        (local | {"nodes"})
        - {"address", "cluster", "down", "dry_run"}
        - ({"overrides"} if command == "pretrain" else set())
    )
    assert taken == sent


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
