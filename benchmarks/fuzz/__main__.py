"""The command line of `python -m benchmarks.fuzz`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.command_line import Comparison


@click.command("python -m benchmarks.fuzz", cls=Comparison)
@click.option(
    "--mutations", default=1000, show_default=True, help="Damages, shared out evenly among the kinds of input."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the damages.")
@click.option("--kind", default="", metavar="TEXT", help="Only kinds of input with this in their name.")
@click.option("--keep", metavar="DIR", help="Folder for the inputs whose outcome was bad.")
@click.option("--markdown", metavar="FILE", help="File for the page.")
def main(mutations: int, seed: int, kind: str, keep: str | None, markdown: str | None) -> None:
    """Damage every kind of input of the commands, and count the outcomes."""
    from benchmarks.fuzz.page import page
    from benchmarks.fuzz.processes import fuzz_apart

    tallies = fuzz_apart(mutations=mutations, seed=seed, only=kind, keep=Path(keep) if keep else None)
    text = page(tallies, mutations=mutations, seed=seed)
    if markdown:
        Path(markdown).write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
