"""What `wsc-ray bench scaling --address` or `--cluster` submits: the preflight on the cluster, then the benchmark."""

from functools import partial

import click

from wsc_ray import entry
from wsc_ray.cli.bench import scaling


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--out", required=True, help="Folder for the results, a path that every node mounts.")
@click.option("--nodes", type=int, default=1, help="Wait for so many.")
@click.pass_context
def main(context: click.Context, out: str, nodes: int) -> None:
    """Preflight and measure; further options are those of `wsc-ray bench scaling`."""
    words = ["--out", out, *context.args]
    work = partial(scaling.main, words, standalone_mode=False)
    entry.ending(lambda: entry.carry_out_words("bench", work, out=out, nodes=nodes))


if __name__ == "__main__":
    main()
