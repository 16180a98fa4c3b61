"""`cluster/slurm.sh` where SLURM's and Ray's programs only say what they were asked."""

import os
import re
import subprocess

import pytest
from ray.scripts.scripts import cli as ray_cli

from tests.cluster.files import CLUSTER, ROOT, read
from wsc_ray.cli import main


@pytest.fixture
def slurm(tmp_path):
    """`slurm(**environment)` runs the script where `srun` and `ray` only say what they were asked: (status, stderr, asked)."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "srun").write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$RAY_AUTH_MODE" "${{RAY_ADDRESS-}}" "$@" > {tmp_path}/asked\n'
    )
    (programs / "ray").write_text("#!/bin/bash\nmkdir -p ~/.ray && echo secret | tee ~/.ray/auth_token\n")
    for program in programs.iterdir():
        program.chmod(0o755)

    def run(**environment: str):
        slurm = {"SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "1"}
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "VENV": str(tmp_path / "venv"),
            **slurm,
            **environment,
        }
        done = subprocess.run(
            ["bash", CLUSTER / "slurm.sh"], env=given, capture_output=True, text=True, check=False, timeout=60
        )
        asked = tmp_path / "asked"
        return done.returncode, done.stderr, asked.read_text().splitlines() if asked.exists() else []

    return run


def test_slurm_runs_one_ray_on_all_nodes(slurm, tmp_path):
    status, text, asked = slurm(MANIFEST="/data/my manifest", RUN="/data/run")
    assert status == 0, text
    mode, address, program, command, *arguments = asked
    assert (mode, address, program, command) == ("token", "", "ray", "symmetric-run")
    separator = arguments.index("--")
    options, (env, place, wsc_ray, ours, *rest) = arguments[:separator], arguments[separator + 1 :]
    assert options[options.index("--min-nodes") + 1] == "2"
    assert (env, wsc_ray, ours) == ("env", "wsc-ray", "pretrain")
    assert place == f"RAY_ADDRESS={options[options.index('--address') + 1]}"
    assert not place.startswith(("RAY_ADDRESS=127.", "RAY_ADDRESS=:"))
    # Both parts are read by the programs that will read them.
    known = {
        name
        for sub in ("symmetric-run", "start")
        for parameter in ray_cli.commands[sub].params
        for name in parameter.opts
    }
    assert {word.partition("=")[0] for word in options if word.startswith("--")} <= known
    parsed = main.commands["pretrain"].make_context("pretrain", rest).params
    assert parsed["out"] == "/data/run"
    assert set(parsed["overrides"]) == {"data.manifest=/data/my manifest", "train.workers=2"}
    assert (ROOT / parsed["recipe"]).is_file()
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def test_slurm_says_what_is_not_set(slurm):
    for given, missing in (({}, "MANIFEST"), ({"MANIFEST": "m"}, "RUN")):
        status, text, asked = slurm(**given)
        assert status != 0
        assert f"{missing}: set it here" in text
        assert not asked


def test_slurm_keeps_one_ray_a_node():
    """Ray's own check refuses to start beside another job's, and `ray stop` would end it."""
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?", read("slurm.sh"), re.MULTILINE))
    assert asked["ntasks-per-node"] == "1"
    assert "exclusive" in asked
