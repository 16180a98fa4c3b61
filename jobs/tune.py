"""What `wsc-ray tune --address` or `--cluster` submits: the preflight on the cluster, then the search of a head."""

import click

from wsc_ray import entry


@click.command()
@click.option("--run", help="Run folder.")
@click.option("--recipe", help="Instead of the run folder's.")
@click.option("--features", help="Features to use.")
@click.option("--out", required=True, help="Where the head goes.")
@click.option("--set", "overrides", multiple=True, help="Over the recipe, KEY=VALUE.")
@click.option("--nodes", type=int, default=1, help="Wait for so many.")
def main(**arguments) -> None:
    """Preflight and tune."""
    entry.ending(lambda: entry.carry_out("tune", **arguments))


if __name__ == "__main__":
    main()
