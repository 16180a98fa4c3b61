"""Every command in the README is executed, in its order, on a small cohort where the README has the demo's."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from wsc_ray.demo.picture import PICTURE
from wsc_ray.demo.recipes import PIXELS
from wsc_ray.demo.run import ENCODERS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = README + (ROOT / "docs" / "tracking.md").read_text()  # a page of which the block goes on where the README ends


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def newcomer(tmp_path, monkeypatch, cohort):
    """Where the README's reader stands: in the project's folder, after the demo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    (tmp_path / "demo" / "cohort").mkdir(parents=True)
    shutil.copy(cohort, tmp_path / "demo" / "cohort" / "patches.parquet")
    return tmp_path


def test_the_whole_way(newcomer, ray_cluster, wsc_ray_command):
    lines = [line for block in blocks("bash") for line in block.splitlines() if line and not line.startswith("#")]
    assert len(lines) >= 9
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        assert program == "wsc-ray", line
        status, text = wsc_ray_command(*arguments)
        assert status == 0, f"{line}\n{text}"
    for path in (
        "cohort/summary.json",
        "run/summary.json",
        "run/encoder/model.safetensors",
        "run/features/summary.json",
    ):
        assert (newcomer / path).exists(), path
    for block in blocks("python", PYTHON):
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102

    documented = set(
        re.findall(
            r"^  ([a-z.]+?/?)  +\S", next(block for block in blocks("text") if block.startswith("RUN/")), re.MULTILINE
        )
    )
    written = {path.name + "/" * path.is_dir() for path in (newcomer / "run").iterdir()}
    assert written == documented


def test_the_first_screens_commands_are_the_makefiles():
    (block,) = blocks("console")
    targets = re.findall(r"^make (\w+)", block, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target, runs in (("demo", "wsc-ray demo"), ("test", "pytest")):
        shown = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert runs in shown


def test_every_target_of_the_makefile_has_a_rule():
    makefile = (ROOT / "Makefile").read_text()
    rules = re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
    (targets,) = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert sorted(rules) == sorted(targets.split())
    assert set(re.findall(r'echo "make ([\w-]+)', makefile)) <= set(rules)


def table(text):
    return re.findall(rf"^(?:{'|'.join(ENCODERS)}) +\d.*", text, re.MULTILINE)


def test_the_demo_runs_to_its_table(newcomer, ray_cluster, wsc_ray_command):
    status, text = wsc_ray_command("demo", "--quick", "--out", newcomer / "quick")
    assert status == 0, text
    assert [line.split()[:2] for line in table(text)] == [[name, "96" if name == PIXELS else "2"] for name in ENCODERS]
    page = (newcomer / "quick" / "report" / "report.html").read_text()
    assert all(f">{name}</h3>" in page for name in ENCODERS)
    assert (newcomer / "quick" / PICTURE).read_bytes().startswith(b"\x89PNG")
    status, again = wsc_ray_command("demo", "--quick", "--out", newcomer / "quick")
    assert status == 0
    assert table(again) == table(text)
    status, text = wsc_ray_command("demo", "--quick", "--seed", "1", "--out", newcomer / "quick")
    assert status == 2
    assert "a demo with other settings" in text
    assert "`seed`: 0 there, 1 here" in text


def test_paths_that_the_readme_names_exist():
    for path in re.findall(r"`((?:jobs|benchmarks|cluster|tests)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path
