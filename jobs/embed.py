"""What `wsc-ray embed --address` or `--cluster` submits: the preflight on the cluster, then embedding."""

import click

from wsc_ray import entry


@click.command()
@click.option("--run", help="Run folder.")
@click.option("--recipe", help="Instead of the run folder's.")
@click.option("--encoder", help="Exported encoder.")
@click.option("--manifest", help="Patches to embed.")
@click.option("--out", required=True, help="Where features go.")
@click.option("--set", "overrides", multiple=True, help="Over the recipe, KEY=VALUE.")
@click.option("--nodes", type=int, default=1, help="Wait for so many.")
def main(**arguments) -> None:
    """Preflight and embed."""
    entry.ending(lambda: entry.carry_out("embed", **arguments))


if __name__ == "__main__":
    main()
