"""The commands: parse, call one function of the same name, print; no logic.

Heavy modules are imported when a command needs them, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Any

import click

from wsc_ray import __version__, commands
from wsc_ray.cli.bench import bench
from wsc_ray.cli.cluster import doctor, job
from wsc_ray.cli.options import (
    Commands,
    cluster_options,
    dry_run_option,
    options,
    pairs,
    recipe_option,
    run_option,
    set_option,
    show,
)
from wsc_ray.cli.tile import tile
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import DEFAULT_RECIPE


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="wsc-ray")
def main() -> None:
    """Weakly supervised contrastive pretraining of patch encoders, from slide labels alone, on Ray.

    \b
    The way through:
      wsc-ray init                                 a commented recipe, wsc-ray.yaml
      wsc-ray tile SLIDES --out DIR                slides -> manifest
      wsc-ray manifest import TABLE --out DIR      or patches -> manifest
      wsc-ray pretrain --out RUN                   manifest -> encoder
      wsc-ray embed --run RUN                      encoder -> features
      wsc-ray tune --run RUN                       features -> MIL head
      wsc-ray evaluate --run RUN                   head -> metrics on the test split
    """


@main.command()
@click.option("--out", type=click.Path(), default=DEFAULT_RECIPE, show_default=True, help="File to write.")
def init(out: str) -> None:
    """Write a recipe with every setting, its default (the paper's) and what it means."""
    click.echo(f"wrote {commands.init(out=out)}; set data.manifest in it, then: wsc-ray pretrain --out RUN")


@main.group()
def manifest() -> None:
    """Make and check the table of patches."""


@manifest.command("import")
@click.argument("source", type=click.Path())
@click.option("--out", required=True, metavar="DIR", help="New folder (or URI) for the manifest.")
@click.option(
    "--column",
    "columns",
    metavar="NAME=SOURCE",
    multiple=True,
    help="The manifest's column NAME is the table's SOURCE; repeatable.",
)
@click.option(
    "--constant",
    "constants",
    metavar="NAME=VALUE",
    multiple=True,
    help="One value for every row, such as split=train; repeatable.",
)
@click.option(
    "--label",
    "label_names",
    metavar="SOURCE=NAME",
    multiple=True,
    help="Slide label SOURCE of the table is called NAME, such as 1=positive; repeatable.",
)
@click.option(
    "--list",
    "lists",
    metavar="FILE[,label=NAME][,split=NAME]",
    multiple=True,
    help="SOURCE is a folder of images, listed in FILE, a path a line; repeatable.",
)
@click.option("--format", type=click.Choice(["parquet", "csv"]), help="Of SOURCE, where its name does not say.")
@click.option("--link", is_flag=True, help="Keep the images' paths instead of taking their bytes into the manifest.")
@click.option(
    "--row-group-rows",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Most rows of a row group, what streaming reads at a time.",
)
@click.option("--file-rows", type=click.IntRange(1), default=16_384, show_default=True, help="Most rows of a file.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of slides.")
def import_(**arguments: Any) -> None:
    """Write a manifest from SOURCE: a Parquet or CSV table of patches, or a folder of images with lists of them.

    \b
    A table whose columns have other names:
      wsc-ray manifest import patches.parquet --out manifest \\
        --column label=slide_label --label 0=negative --label 1=positive
    A folder with a list a label:
      wsc-ray manifest import images/ --out manifest \\
        --list neg.txt,label=negative,split=train --list pos.txt,label=positive,split=train
    """
    for option in ("columns", "constants", "label_names"):
        arguments[option] = pairs(option, arguments[option])
    show(commands.manifest_import(**arguments))


@manifest.command()
@click.argument("manifest", type=click.Path())
@click.option("--all", "all", is_flag=True, help="Decode every image.")
@click.option("--sample", type=click.IntRange(0), default=1000, show_default=True, help="Images to decode otherwise.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sample.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Write the report there, as summary.json.")
def check(**arguments: Any) -> None:
    """Count what MANIFEST holds, and fail naming rows where it could not be trained on honestly."""
    show(commands.manifest_check(**arguments))


@main.command()
@click.argument("recipe", type=click.Path(), required=False)
@click.option(
    "--out", type=click.Path(), required=True, metavar="DIR", help="Run folder; a run that is there already is resumed."
)
@click.option(
    "--from",
    "start_from",
    type=click.Path(),
    metavar="CHECKPOINT",
    help="Start a new run from these weights: a checkpoint, an exported encoder or a .safetensors file.",
)
@options(set_option, cluster_options, dry_run_option)
def pretrain(recipe: str | None, overrides: tuple[str, ...], dry_run: bool, **arguments: Any) -> None:
    """Pretrain the patch encoder that RECIPE describes (by default wsc-ray.yaml here).

    Type the same command again after an interruption and it goes on from its last checkpoint.
    """
    loaded = load_recipe(recipe, overrides)  # before anything heavy is imported: a typing error is said at once
    if dry_run:
        click.echo(loaded.to_yaml())
    show(commands.pretrain(recipe=loaded, dry_run=dry_run, **arguments), dry_run)


@main.command()
@run_option
@click.option("--encoder", type=click.Path(), metavar="DIR", help="Exported encoder.  [default: RUN/encoder]")
@click.option("--manifest", metavar="DIR", help="Patches to embed.  [default: the recipe's]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where features go.  [default: RUN/features]")
@options(recipe_option, set_option, cluster_options, dry_run_option)
def embed(**arguments: Any) -> None:
    """Run every slide through the frozen encoder: one .h5 file a slide, those that are there left out."""
    show(commands.embed(**arguments), arguments["dry_run"])


@main.command()
@run_option
@click.option("--features", type=click.Path(), metavar="DIR", help="Features to use.  [default: RUN/features]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where the head goes.  [default: RUN/mil]")
@options(recipe_option, set_option, cluster_options, dry_run_option)
def tune(**arguments: Any) -> None:
    """Search attention-MIL settings with Ray Tune, on training and validation slides only."""
    show(commands.tune(**arguments), arguments["dry_run"])


@main.command()
@run_option
@click.option("--features", type=click.Path(), metavar="DIR", help="Features to use.  [default: RUN/features]")
@click.option("--head", type=click.Path(), metavar="DIR", help="Head to use.  [default: RUN/mil]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where results go.  [default: RUN/evaluate]")
@options(recipe_option, set_option, dry_run_option)
def evaluate(**arguments: Any) -> None:
    """Measure the chosen head on the test split, with bootstrap intervals over patients."""
    show(commands.evaluate(**arguments), arguments["dry_run"])


@main.command()
@click.option(
    "--out",
    type=click.Path(),
    default="demo",
    show_default=True,
    metavar="DIR",
    help="Folder for the cohort and the runs.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the cohort and of training.")
@click.option("--quick", is_flag=True, help="A few steps of everything, to see that it runs; its table means nothing.")
def demo(out: str, seed: int, quick: bool) -> None:
    """The whole way on a synthetic cohort: WeakSupCon, SimCLR and an untrained encoder side by side."""
    summary = commands.demo(out=out, seed=seed, quick=quick)
    click.echo(summary["table"])
    click.echo(f"\nlook at every run: {summary['look']}")


for command in (tile, doctor, job, bench):
    main.add_command(command)
