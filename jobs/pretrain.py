"""What `wsc-ray pretrain --address` or `--cluster` submits: the preflight on the cluster, then pretraining."""

import click

from wsc_ray import entry


@click.command()
@click.option("--recipe", required=True, help="Resolved recipe.")
@click.option("--out", required=True, help="Run folder, a path that every node mounts.")
@click.option("--from", "start_from", help="Weights that a new run starts from.")
@click.option("--nodes", type=int, default=1, help="Wait for so many.")
def main(**arguments) -> None:
    """Preflight and pretrain."""
    entry.ending(lambda: entry.carry_out("pretrain", **arguments))


if __name__ == "__main__":
    main()
