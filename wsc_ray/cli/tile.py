"""`wsc-ray tile`: from slide files to a manifest."""

from __future__ import annotations

from typing import Any

import click

from wsc_ray import commands
from wsc_ray.cli.options import cluster_options, options, pairs, show


@click.command()
@click.argument("slides", type=click.Path())
@click.option("--out", required=True, metavar="DIR", help="Folder for the manifest; what is there already is left out.")
@click.option("--folder", metavar="DIR", help="Where the list's paths start.  [default: the list's own folder]")
@click.option(
    "--column",
    "columns",
    metavar="NAME=SOURCE",
    multiple=True,
    help="NAME (path, slide_id, patient_id, label, split, mpp) is the list's column SOURCE; repeatable.",
)
@click.option(
    "--constant",
    "constants",
    metavar="NAME=VALUE",
    multiple=True,
    help="One value for every slide, such as split=train; repeatable.",
)
@click.option(
    "--label",
    "label_names",
    metavar="SOURCE=NAME",
    multiple=True,
    help="Slide label SOURCE of the list is called NAME, such as 1=positive; repeatable.",
)
@click.option("--mpp", type=float, default=0.5, show_default=True, help="um/px of the patches; 0.5 is 20x.")
@click.option("--patch-size", type=int, default=256, show_default=True, help="Side of a patch, px at that scale.")
@click.option("--overlap", type=int, default=0, show_default=True, help="Of neighbouring patches, px at that scale.")
@click.option("--tissue", type=float, default=0.5, show_default=True, help="Least share of a patch that is tissue.")
@click.option("--quality", type=int, default=90, show_default=True, help="Of the JPEGs, 1 to 100.")
@click.option(
    "--reader",
    type=click.Choice(["auto", "openslide", "cucim"]),
    default="auto",
    show_default=True,
    help="What reads slides; auto: the first of the others that is installed.",
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave out slides and patches that cannot be read; the summary names them."
)
@click.option(
    "--row-group-rows",
    type=int,
    default=128,
    show_default=True,
    help="Most rows of a row group, what streaming reads at a time.",
)
@click.option("--file-rows", type=int, default=4096, show_default=True, help="Most rows of a file.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of slides.")
@options(cluster_options)
@click.option("--dry-run", is_flag=True, help="Check the list, print the plan, and stop.")
def tile(columns: tuple[str, ...], constants: tuple[str, ...], label_names: tuple[str, ...], **arguments: Any) -> None:
    """Cut the tissue of the slides that SLIDES lists into patches, as a manifest.

    \b
    SLIDES is a CSV with the columns path, label, split, and where there are any slide_id, patient_id, mpp:
      wsc-ray tile slides.csv --out manifest
    Lists of TRIDENT, CLAM and slide2vec are read too; what they lack is given here:
      wsc-ray tile clam.csv --folder slides/ --label tumor_tissue=positive --label normal_tissue=negative \\
        --constant split=train --out manifest

    Look at OUT/previews for what was taken for tissue. Type the same command again after an interruption and it
    goes on with what is missing.
    """
    named = {"columns": columns, "constants": constants, "label_names": label_names}
    found = {name: pairs(name, texts) for name, texts in named.items()}
    show(commands.tile(**found, **arguments), arguments["dry_run"])
