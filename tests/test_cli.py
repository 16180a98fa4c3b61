"""The command line: what a user can do wrong ends in one sentence and status 2, and nothing is half-written."""

import hashlib
import json
import subprocess
import sys

import pytest
import yaml

from wsc_ray import commands
from wsc_ray.cli import main
from wsc_ray.command import COMMANDS, Where
from wsc_ray.submit.call import LOCAL


def write(path, settings):
    path.write_text(yaml.safe_dump(settings))
    return path


def every_command(group=main, prefix=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*prefix, name))
        else:
            yield (*prefix, name), command


@pytest.mark.parametrize("name", [name for name, _ in every_command()], ids="-".join)
def test_every_command_and_option_has_help(wsc_ray_command, name):
    status, _ = wsc_ray_command(*name, "--help")
    assert status == 0
    command = dict(every_command())[name]
    assert command.help
    for option in command.params:
        if option.param_type_name == "option":
            assert option.help, option.name


def test_the_parts_of_the_system_are_there():
    names = {name for name, _ in every_command()}
    wanted = {"init", "tile", "pretrain", "embed", "tune", "evaluate", "demo", "doctor"}
    assert {(name,) for name in wanted} | {("manifest", "import"), ("manifest", "check")} <= names


def test_every_command_is_a_function_of_the_same_name():
    for name, command in every_command():
        function = getattr(commands, "_".join(name))
        given = {p.name for p in command.params} - {"as_json"}
        import inspect

        parameters = inspect.signature(function).parameters
        assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values()), name
        assert given <= set(parameters), name


def test_a_command_that_can_be_sent_has_the_options_of_where():
    sent = [declaration for declaration in COMMANDS.values() if declaration.sent]
    assert len(sent) >= 10
    for declaration in sent:
        flags = {parameter.name for parameter in declaration.parameters}
        assert set(Where.__annotations__) <= flags, declaration.name
    assert set(Where.__annotations__) <= set(LOCAL), "where a call runs is no part of the call"


def test_a_function_refuses_an_argument_that_it_does_not_have():
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        commands.manifest_check(manifest="cohort", colour="red")
    with pytest.raises(TypeError, match="missing a required argument: 'manifest'"):
        commands.manifest_check()


def test_help_and_version_answer_without_heavy_imports():
    code = "import sys, wsc_ray.cli; sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'mlflow', 'pyarrow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"epoch": 3}}, "did you mean `train.epochs`?"),
        ({"data": {"manifest": None}}, "`data.manifest`: missing"),
        ({"data": {"manifest": "nowhere"}}, "nowhere"),
        ({"data": {"manifest": "not_parquet"}}, "not_parquet"),
        ({"data": {"train_split": "training"}}, "split 'training'"),
        ({"data": {"pure": ["benign"]}}, "data.pure"),
        ({"data": {"mixed": ["tumour"]}}, "tumour"),
        ({"encoder": {"backbone": "resnet_18"}}, "timm knows no model 'resnet_18'"),
        ({"encoder": {"weights": "nowhere.safetensors"}}, "nowhere.safetensors"),
        ({"tracking": {"uri": "http://127.0.0.1:9"}}, "MLflow at http://127.0.0.1:9"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_and_leaves_nothing(
    wsc_ray_command, settings, tmp_path, monkeypatch, change, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not_parquet").mkdir()
    (tmp_path / "not_parquet" / "a.parquet").write_text("text")
    for section, values in change.items():
        settings.setdefault(section, {}).update(values)
    before = sorted(tmp_path.iterdir())
    recipe = write(tmp_path / "recipe.yaml", settings)
    status, text = wsc_ray_command("pretrain", recipe, "--out", tmp_path / "run")
    assert status == 2
    assert said in text
    assert text.startswith("wsc-ray: ")
    assert "Traceback" not in text
    assert sorted(tmp_path.iterdir()) == sorted([*before, recipe])


def test_a_folder_that_is_taken(wsc_ray_command, settings, tmp_path):
    recipe = write(tmp_path / "recipe.yaml", settings)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.doc").write_text("years of work")
    for out in (taken, recipe):
        status, text = wsc_ray_command("pretrain", recipe, "--out", out)
        assert status == 2
        assert "give a new folder" in text
    assert [path.name for path in taken.iterdir()] == ["thesis.doc"]


def test_a_dry_run_prints_the_recipe_and_the_plan_and_touches_nothing(wsc_ray_command, settings, tmp_path):
    recipe = write(tmp_path / "recipe.yaml", settings)
    status, text = wsc_ray_command(
        "pretrain", recipe, "--out", tmp_path / "run", "--set", "train.epochs=5", "--dry-run"
    )
    assert status == 0
    assert "epochs: 5" in text
    assert "plan (nothing was started)" in text
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_no_epochs_keep_the_weights_and_a_record_of_nothing(wsc_ray_command, settings, tmp_path):
    settings["train"] |= {"epochs": 0}
    settings["stream"] |= {"record": True}
    recipe = write(tmp_path / "recipe.yaml", settings)
    for _ in range(2):  # the second finds it complete
        status, text = wsc_ray_command("pretrain", recipe, "--out", tmp_path / "run")
        assert status == 0, text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples_sha256"] == hashlib.sha256(b"").hexdigest()
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("tile", "x.csv", "--out", "o", "--mpp", "nan"),
        ("tile", "x.csv", "--out", "o", "--mpp", "1e308"),
        ("tile", "x.csv", "--out", "o", "--patch-size", "2147483647"),
        ("tile", "x.csv", "--out", "o", "--patch-size", "9" * 5000),
        ("tile", "x.csv", "--out", "o", "--constant", "x" * 5000),
        ("manifest", "check", "m", "--sample", str(2**63)),
        ("bench", "scaling", "--out", "o", "--workers", "9" * 5000),
        ("bench", "scaling", "--out", "o", "--workers", str(2**40)),
    ],
    ids=lambda words: "-".join(words)[:40],
)
def test_numbers_beyond_all_use(wsc_ray_command, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    status, text = wsc_ray_command(*arguments)
    assert status == 2
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def test_later_commands_want_a_run_folder(wsc_ray_command, tmp_path):
    for command in ("embed", "tune", "evaluate"):
        status, text = wsc_ray_command(command, "--run", tmp_path / "none")
        assert status == 2, command
        assert "is not a run folder" in text
        assert not (tmp_path / "none").exists()


def test_init_never_overwrites(wsc_ray_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert wsc_ray_command("init")[0] == 0
    written = (tmp_path / "wsc-ray.yaml").read_text()
    status, text = wsc_ray_command("init")
    assert status == 2
    assert "exists" in text
    assert (tmp_path / "wsc-ray.yaml").read_text() == written


def test_a_real_process_says_it_on_stderr_with_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wsc_ray", "pretrain", "missing.yaml", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wsc-ray: missing.yaml")
    assert not list(tmp_path.iterdir())


def test_doctor(wsc_ray_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = wsc_ray_command("doctor")
    assert status == 0
    assert "mlflow store" in text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    status, text = wsc_ray_command("doctor")
    assert status == 2
    assert "fail  mlflow store: MLflow at http://127.0.0.1:9 cannot be used" in text
