"""A command from outside the package's files, as docs/add-a-command.md says, and plug-ins that are wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wsc_ray.commands import all_commands
from wsc_ray.declaration import commands_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add-a-command.md").read_text()


def example() -> str:
    """The file that the page shows."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return block


def run(*arguments, plugins, cwd) -> subprocess.CompletedProcess:
    environment = {**os.environ, "WSC_RAY_PLUGINS": str(plugins), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "wsc_ray", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_pages_command_runs(manifest, tmp_path):
    (tmp_path / "count_slides.py").write_text(example())
    done = run("count-slides", manifest, "--split", "train", plugins="count_slides.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"slides +12", done.stdout)
    helped = run("--help", plugins="count_slides.py", cwd=tmp_path)
    assert "count-slides  Count the slides of a manifest." in helped.stdout
    code = f"from wsc_ray import commands; print(commands.count_slides(manifest={str(manifest)!r})['slides'])"
    environment = {**os.environ, "WSC_RAY_PLUGINS": "count_slides.py", "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert int(printed.stdout) > 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("from wsc_ray.command import command\n@command('embed')\ndef embed():\n    pass", "two commands are called"),
        (None, "does not exist"),
    ],
)
def test_a_wrong_plugin_is_a_sentence(tmp_path, text, said):
    if text is not None:
        (tmp_path / "wrong.py").write_text(text)
    done = run("init", plugins="wrong.py", cwd=tmp_path)
    assert done.returncode == 2
    name = tmp_path / "wrong.py"
    assert done.stderr.startswith(f"wsc-ray: WSC_RAY_PLUGINS names {name}, which cannot be imported")
    assert said in done.stderr
    assert not (tmp_path / "wsc-ray.yaml").exists()


def test_the_readmes_table_is_that_of_the_declarations():
    assert commands_table(all_commands()) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("declaration", all_commands(), ids=lambda each: each.name)
def test_help_stands_alone(declaration):
    """In a list of commands the first line is shown whole; an option's help begins with a noun or a verb, and ends."""
    first = declaration.help.splitlines()[0]
    assert len(first) <= 66, first
    assert first.endswith(".")
    for parameter in declaration.parameters:
        if not parameter.option.argument:
            assert not parameter.option.help.startswith(("Of ", "That ", "In which")), parameter.option.help
