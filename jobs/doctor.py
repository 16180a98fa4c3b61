"""What `wsc-ray doctor --address` submits: the preflight alone, its lines as JSON in the log's last line."""

import json

import click

from wsc_ray import entry


@click.command()
@click.option("--recipe", help="Whose needs are looked at.")
@click.option("--out", help="Folder for results to look at.")
def main(**arguments) -> None:
    """Preflight."""
    entry.ending(lambda: print(json.dumps(entry.doctor(**arguments)), flush=True))


if __name__ == "__main__":
    main()
