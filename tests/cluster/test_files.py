"""What the files in `cluster/` have in common, and `local.yaml`: Ray's launcher takes them; nothing is started."""

import os
import re
import shutil
import subprocess
import sys

import click
import pytest
import yaml
from ray.autoscaler import sdk
from ray.scripts.scripts import cli as ray_cli

from tests.cluster.files import CLUSTER, ROOT, filled, read
from wsc_ray.cli import main

LAUNCHED = ("aws", "gcp", "local")  # by `ray up`


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay.yaml", "local.yaml", "slurm.sh"])
def test_everything_to_change_stands_at_the_top(name):
    parts = re.split(r"^ *# -{4} .*\n", read(name), flags=re.MULTILINE)
    assert len(parts) == 3, "a heading, what is the user's, what is not"
    assert "CHANGE-ME" in parts[1] or ":?" in parts[1]
    assert "CHANGE-ME" not in parts[0] + parts[2]


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_no_secret_lies_in_a_file(path):
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN \w* ?PRIVATE KEY|password\s*[:=]|RAY_AUTH_TOKEN=\w", path.read_text()
    )


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_is_started_with_a_token_and_the_dashboard_on_loopback(name):
    config = yaml.safe_load(read(f"{name}.yaml"))
    (head,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if "ray start" in line]
    assert "RAY_AUTH_MODE=token ray start --head --disable-usage-stats " in head
    assert "RAY_AUTH_MODE=token ray start --address=" in worker
    assert head.endswith("--dashboard-host=127.0.0.1")
    assert "~/.ray/auth_token" in config["file_mounts"]


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_copied_can_be_installed(name, tmp_path):
    """The mounts are all that a machine has of the project: its packages must be found among them."""
    for target, source in yaml.safe_load(read(f"{name}.yaml"))["file_mounts"].items():
        if target.startswith("~/wsc-ray/"):
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / target.removeprefix("~/wsc-ray/"))
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "built"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "built" / "wsc_ray" / "cli" / "__init__.py").is_file()
    assert (tmp_path / "constraints.txt").is_file()


def test_readme_names_what_is_there():
    text = read("README.md")
    for path in re.findall(r"(?:cluster|jobs)/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"^\| .*?`([\w.-]+)`", text, re.MULTILINE):
        assert (CLUSTER / path).exists(), path


def test_readmes_commands_exist():
    """`wsc-ray` and `ray` take every option that the README gives them."""
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", read("README.md"), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    ours = [line.split() for line in lines if line.startswith(("wsc-ray ", "ray "))]
    assert len(ours) >= 8
    for program, command, *arguments in ours:
        found = (main if program == "wsc-ray" else ray_cli).commands[command]
        found = found.commands[arguments[0]] if isinstance(found, click.Group) else found
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known, (program, command)


def test_local_takes_all_machines(home):
    (file,) = filled(
        "local.yaml",
        CHANGE_ME_HEAD="192.0.2.1",
        CHANGE_ME_SECOND="192.0.2.2",
        CHANGE_ME_THIRD="192.0.2.3",
        CHANGE_ME_USER="me",
        CHANGE_ME_FOLDER="shared",
    )
    config = sdk.bootstrap_config(file, no_config_cache=True)
    (node_type,) = config["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == 2
    commands = [line for key, lines in config.items() if key.endswith("_commands") for line in lines]
    assert not [line for line in commands if "sudo" in line]


@pytest.mark.parametrize("existing", [".profile", ".bash_profile"])
def test_local_login_shells_find_this_ray(existing, tmp_path):
    """`ray down` types `ray stop` in one, and Ray reports success where that fails."""
    file = yaml.safe_load(read("local.yaml"))
    (profile,) = [line for line in file["setup_commands"] if "profile" in line]
    (tmp_path / existing).write_text("# mine\n")
    ray = tmp_path / "wsc-ray" / "venv" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text('#!/bin/bash\necho "$1 $RAY_AUTH_MODE"\n')
    ray.chmod(0o755)

    def typed(line: str, *options: str) -> str:
        command = ["bash", *options, "-c", line]
        environment = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    for line in [*file["initialization_commands"], profile, profile]:
        typed(line)
    assert typed("ray stop", "--login") == "stop token\n"
    assert (tmp_path / existing).read_text().count("wsc-ray/environment") == 1
