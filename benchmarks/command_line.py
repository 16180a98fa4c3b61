"""Helpers for the command lines of the comparisons."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from wsc_ray.errors import RunFolderError, UserError
from wsc_ray.files import read_json, write_json


class Comparison(click.Command):
    """A command that ends a user's mistake with one sentence and exit status 2, as `wsc-ray` does."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.echo(f"{self.name}: {error}", err=True)
            context.exit(error.exit_status)


def whole_numbers(option: str, text: str) -> list[int]:
    """The numbers of an option, such as `1,2,4`.

    Raises:
        UserError: something else than whole numbers with commas between them.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{option} {text}: write whole numbers with commas between them") from None


def _below(variable: str, *names: str) -> str | None:
    """Return a path in the folder that an environment variable names; None if the variable is not set."""
    return str(Path(folder, *names)) if (folder := os.environ.get(variable)) else None


def _named(option: str, variable: str, names: tuple[str, ...], metavar: str, text: str) -> Callable[..., Any]:
    """Return an option for a path, by default one in the folder that an environment variable names."""
    default = _below(variable, *names)
    shown = "/".join((variable, *names))
    return click.option(
        option, default=default, required=default is None, metavar=metavar, help=f"{text}  [default: {shown}]"
    )


def patches_option(columns: str) -> Callable[..., Any]:
    """Return the option `--patches`, a Parquet table of patches with these columns."""
    place = ("pcam", "patches.parquet")
    return _named("--patches", "WSC_RAY_COHORTS", place, "FILE", f"Parquet table of patches: {columns}.")


markdown_option = click.option("--markdown", metavar="FILE", help="File for the whole page.")
pool_option = click.option(
    "--pool", required=True, metavar="FILE", help="Parquet table of patches: stain_group, patch_label, image."
)
processes_option = click.option(
    "--processes", type=click.IntRange(1), help="Trainings at a time.  [default: every core]"
)


def rounds_option(default: int) -> Callable[..., Any]:
    """Return the option `--rounds`."""
    words = "Rounds, in each of which every contender has a turn."
    return click.option("--rounds", default=default, show_default=True, help=words)


def quick_option(what: str) -> Callable[..., Any]:
    """Return the option `--quick`.

    Args:
        what: what it takes, such as `few and small bags`.
    """
    return click.option("--quick", is_flag=True, help=f"{what}, to see that all runs; the figures mean nothing.")


weights_option = _named(
    "--weights",
    "WSC_RAY_WEIGHTS",
    ("tf_efficientnet_lite0",),
    "DIR",
    "Folder with ImageNet weights of tf_efficientnet_lite0.",
)


def claim(folder: Path, what: str, options: Mapping[str, Any]) -> None:
    """Write the options of a comparison that can go on after an interruption, or check that its folder holds them.

    Args:
        what: the comparison, for errors, such as `a grid`.

    Raises:
        RunFolderError: the folder holds other options, or something else.
    """
    known, options = folder / "options.json", json.loads(json.dumps(options))  # lists for tuples, as they are read
    if known.exists():
        if read_json(known) != options:
            raise RunFolderError(f"{folder} holds {what} of other options; give another --out")
    elif folder.exists() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} holds something else; give a folder that is new as --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(known, options)
