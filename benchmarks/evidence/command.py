"""What the command lines of the studies share: `benchmarks.evidence` and `benchmarks.backbones`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import click

from benchmarks.command_line import pool_option, processes_option, quick_option, weights_option
from benchmarks.evidence.options import MOST, Options
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.errors import UserError
from wsc_ray.files import write_summary


def study_options(defaults: Options, *, chooses: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of a study.

    Args:
        chooses: whether arms have several candidates.
    """

    def number(name: str, words: str, most: int | None = None) -> Callable[..., Any]:
        kind = click.IntRange(1, most)
        return click.option(f"--{name}", default=getattr(defaults, name), show_default=True, type=kind, help=words)

    choosing = [
        number("choosing", "Trainings of each candidate for each pair of held-out stain groups."),
        number("folds", "Pairs of stain groups that are held out in turn to choose settings.", 3),
    ]
    options = [
        pool_option,
        weights_option,
        click.option("--out", required=True, metavar="DIR", help="Folder for features, results and summary.json."),
        click.option(
            "--fractions",
            default=",".join(f"{share:g}" for share in defaults.fractions),
            show_default=True,
            metavar="F,F",
            help="Shares of tumour patches in positive slides, in the order in which they are done.",
        ),
        number("steps", "Steps of a training.", 100_000),
        *(choosing if chooses else []),
        number("seeds", "Trainings of each arm at each share of tumour."),
        number("heads", "Fits of each head to each training's features."),
        processes_option,
        quick_option("Tiny sizes"),
        click.option("--markdown", metavar="FILE", help="File for the whole page; its picture goes beside it."),
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def chosen_options(defaults: Options, given: Mapping[str, Any]) -> Options:
    """Return the options that a user gave a command.

    Raises:
        UserError: `fractions` is no list of shares with commas.
    """
    named = {name: given[name] for name in ("steps", "choosing", "folds", "seeds", "heads") if name in given}
    return replace(defaults, fractions=_fractions(given["fractions"]), **named)


def _fractions(text: str) -> tuple[float, ...]:
    """Return the shares in an option's text, such as `0.1,0.2`.

    Raises:
        UserError: the text is no list of shares with commas.
    """
    try:
        shares = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UserError(f"--fractions {text}: write shares with commas between them, such as 0.1,0.2") from None
    if not all(0 < share <= MOST for share in shares):
        raise UserError(f"--fractions {text}: give shares above 0 and up to {MOST}")
    return shares


class WritePage(Protocol):
    """Writes the page of a study."""

    def __call__(self, summary: Mapping[str, Any], rows: Sequence[Any], patches: Sequence[Any], picture: str) -> str:
        """Return the whole page; `rows` and `patches` are those of `summarise` and `summarise_patches`."""


def run_study(program: str, kind: Any, options: Options, page: WritePage, given: Mapping[str, Any]) -> None:
    """Carry out a study, write its summary and its page, and print the curve of ABMIL.

    Args:
        program: the command, as a user types it.
        kind: a `kind.Kind`.
        given: the command's options.
    """
    from benchmarks.evidence.measure import ABMIL
    from benchmarks.evidence.page import curve, draw
    from benchmarks.evidence.study import carry_out
    from benchmarks.evidence.summary import summarise, summarise_patches

    markdown, processes = given["markdown"], given["processes"]
    target = require_file(markdown) if markdown else None
    folder = Path(given["out"]).resolve()
    found = carry_out(kind, folder, Path(given["pool"]), Path(given["weights"]), options, processes)
    rows, patches = summarise(found["results"]), summarise_patches(found["results"])
    typed = {name: value for name, value in given.items() if name not in ("markdown", "processes")}
    summary = write_summary(
        folder,
        program,
        {
            "options": asdict(options),
            "processes": processes or usable_cores(),
            "invocation": invocation(program, typed, markdown),
            "machine": describe_machine(processes or usable_cores()),
            "versions": versions(["wsc-ray", "torch", "timm", "numpy"]),
            "commit": commit(),
            "seconds": found["seconds"],
            "chosen": found["chosen"],
            "rows": [asdict(row) for row in rows],
            "patches": [asdict(row) for row in patches],
        },
    )
    of_abmil = [row for row in rows if row.head == ABMIL]
    if target is not None:
        draw(of_abmil, target.with_suffix(".png"))
        target.write_text(page(summary, rows, patches, target.with_suffix(".png").name))
    click.echo(curve(of_abmil))
