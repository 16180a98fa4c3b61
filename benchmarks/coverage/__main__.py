"""The command line of `python -m benchmarks.coverage`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option


@click.command("python -m benchmarks.coverage", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json.")
@click.option("--repetitions", default=400, show_default=True, help="Cohorts of each kind.")
@click.option("--samples", default=600, show_default=True, help="Bootstrap samples of an interval.")
@click.option("--seed", default=0, show_default=True, help="Seed of the cohorts.")
@markdown_option
def main(**options: Any) -> None:
    """Count how often the intervals of differences cover the true difference."""
    from benchmarks.coverage.run import measure_coverage

    click.echo(measure_coverage(**options)["table"])


if __name__ == "__main__":
    main()
