"""What `wsc-ray tile --address` or `--cluster` submits: the preflight on the cluster, then tiling."""

from functools import partial
from pathlib import Path

import click

from wsc_ray import entry
from wsc_ray.cli.tile import tile


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--slides", required=True, help="The list, which travels with the job.")
@click.option("--out", required=True, help="Folder for the manifest, a path that every node mounts.")
@click.option("--nodes", type=int, default=1, help="Wait for so many.")
@click.pass_context
def main(context: click.Context, slides: str, out: str, nodes: int) -> None:
    """Preflight and tile; further options are those of `wsc-ray tile`."""
    words = [str(Path(slides).absolute()), "--out", out, *context.args]
    work = partial(tile.main, words, standalone_mode=False)
    entry.ending(lambda: entry.carry_out_words("tile", work, out=out, nodes=nodes))


if __name__ == "__main__":
    main()
