"""The commands: parse, call one function of the same name, print; no logic.

Heavy modules are imported when a command needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from wsc_ray import __version__, commands
from wsc_ray.cluster.line import as_text, failures
from wsc_ray.describe import describe
from wsc_ray.errors import UserError
from wsc_ray.recipe import DEFAULT_RECIPE
from wsc_ray.recipe_file import load_recipe


class Commands(click.Group):
    """A group whose commands end a user's mistake with one sentence and status 2, a job's failure with its own."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.echo(f"wsc-ray: {error}", err=True)
            context.exit(error.exit_status)


def options(*decorators: Callable) -> Callable:
    """Several options as one decorator, first one first in the help."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_set = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a recipe value, such as train.epochs=3; repeatable.",
)
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Check everything, print the resolved recipe and the plan, and stop."
)
_address = click.option(
    "--address",
    metavar="URL",
    help="Run on the cluster that is up there, such as http://127.0.0.1:8265: the head's dashboard, or a port forwarded to it.",
)
_recipe = click.option("--recipe", type=click.Path(), help="Recipe to use instead of the run folder's.")


def _run(required: bool = False) -> Callable:
    return click.option(
        "--run",
        type=click.Path(),
        required=required,
        metavar="DIR",
        help="Run folder that `pretrain` made; everything else follows from it.",
    )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="wsc-ray")
def main() -> None:
    """Weakly supervised contrastive pretraining of patch encoders, from slide labels alone, on Ray.

    \b
    The way through:
      wsc-ray init                                 a commented recipe, wsc-ray.yaml
      wsc-ray manifest import TABLE --out DIR      patches -> manifest
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
        arguments[option] = _pairs(option, arguments[option])
    _show(commands.manifest_import(**arguments))


@manifest.command()
@click.argument("manifest", type=click.Path())
@click.option("--all", "all", is_flag=True, help="Decode every image.")
@click.option("--sample", type=click.IntRange(0), default=1000, show_default=True, help="Images to decode otherwise.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sample.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Write the report there, as summary.json.")
def check(**arguments: Any) -> None:
    """Count what MANIFEST holds, and fail naming rows where it could not be trained on honestly."""
    _show(commands.manifest_check(**arguments))


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
@options(_set, _address, _dry_run)
def pretrain(
    recipe: str | None,
    out: str,
    start_from: str | None,
    overrides: tuple[str, ...],
    address: str | None,
    dry_run: bool,
) -> None:
    """Pretrain the patch encoder that RECIPE describes (by default wsc-ray.yaml here).

    Type the same command again after an interruption and it goes on from its last checkpoint.
    """
    loaded = load_recipe(recipe, overrides)  # before anything heavy is imported: a typing error is said at once
    if dry_run:
        click.echo(loaded.to_yaml())
    arguments = {"recipe": loaded, "out": out, "start_from": start_from, "address": address}
    _show(commands.pretrain(**arguments, dry_run=dry_run), dry_run)


@main.command()
@_run()
@click.option("--encoder", type=click.Path(), metavar="DIR", help="Exported encoder.  [default: RUN/encoder]")
@click.option("--manifest", metavar="DIR", help="Patches to embed.  [default: the recipe's]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where features go.  [default: RUN/features]")
@options(_recipe, _set, _address, _dry_run)
def embed(**arguments: Any) -> None:
    """Run every slide through the frozen encoder: one .h5 file a slide, those that are there left out."""
    _show(commands.embed(**arguments), arguments["dry_run"])


@main.command()
@_run()
@click.option("--features", type=click.Path(), metavar="DIR", help="Features to use.  [default: RUN/features]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where the head goes.  [default: RUN/mil]")
@options(_recipe, _set, _address, _dry_run)
def tune(**arguments: Any) -> None:
    """Search attention-MIL settings with Ray Tune, on training and validation slides only."""
    _show(commands.tune(**arguments), arguments["dry_run"])


@main.command()
@_run()
@click.option("--features", type=click.Path(), metavar="DIR", help="Features to use.  [default: RUN/features]")
@click.option("--head", type=click.Path(), metavar="DIR", help="Head to use.  [default: RUN/mil]")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where results go.  [default: RUN/evaluate]")
@options(_recipe, _set, _dry_run)
def evaluate(**arguments: Any) -> None:
    """Measure the chosen head on the test split, with bootstrap intervals over patients."""
    _show(commands.evaluate(**arguments), arguments["dry_run"])


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


@main.command()
@options(_address)
@click.option(
    "--recipe", type=click.Path(), help="With --address: whose manifest, MLflow store and workers to look at."
)
@click.option("--out", metavar="DIR", help="With --address: folder for results to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool, **arguments: Any) -> None:
    """Say whether this machine, or a cluster, has what the commands need: a line each, ok or how to mend it."""
    lines = commands.doctor(**arguments)
    click.echo(json.dumps(lines, indent=2) if as_json else as_text(lines))
    sys.exit(2 if failures(lines) else 0)


@main.group()
def job() -> None:
    """Come back to a job that `--address` has submitted."""


_job_id = click.argument("job", required=False)
_cluster = click.option(
    "--address",
    metavar="URL",
    help="The cluster's dashboard.  [default: what RAY_API_SERVER_ADDRESS or RAY_ADDRESS name]",
)


@job.command()
@options(_job_id, _cluster)
def attach(**arguments: Any) -> None:
    """Follow JOB, by default our latest, to its end and end as it does; Ctrl-C leaves it running."""
    _show(commands.job_attach(**arguments))


@job.command()
@options(_job_id, _cluster)
def status(**arguments: Any) -> None:
    """List our jobs on a cluster, or JOB alone."""
    from wsc_ray.cluster.job import as_table

    click.echo(as_table(commands.job_status(**arguments)))


@job.command()
@options(_job_id, _cluster)
def stop(**arguments: Any) -> None:
    """Stop JOB, by default our latest; its command typed again goes on from what it left."""
    _show(commands.job_stop(**arguments))


@job.command()
@options(_job_id, _cluster)
def logs(**arguments: Any) -> None:
    """Print what JOB, by default our latest, has said so far."""
    click.echo(commands.job_logs(**arguments), nl=False)


@main.group()
def bench() -> None:
    """Measure this machine: times and ratios of interleaved runs, with versions, commit and command."""


@bench.command()
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder for summary.json.")
@click.option(
    "--batches",
    default="512,1024,2048,4096,8192,16384,32768",
    show_default=True,
    metavar="N,N",
    help="Global batches in patches, half of them pure, half mixed.",
)
@click.option(
    "--processes", default="1,2", show_default=True, metavar="N,N", help="Processes that share the batch, each in turn."
)
@click.option("--dim", type=int, default=128, show_default=True, help="Length of a feature.")
@click.option(
    "--repeats",
    type=int,
    default=20,
    show_default=True,
    help="Rounds where they fit into 45 seconds; fewer, but 3 at the least, where they do not.",
)
@click.option("--threads", type=int, help="Of torch, over all processes.  [default: every core]")
@click.option(
    "--memory-limit",
    type=float,
    metavar="GB",
    help="What a loss may need beyond its input.  [default: 16, or 80% of what is free if that is less]",
)
@click.option("--markdown", type=click.Path(), metavar="FILE", help="Write the whole page there as well.")
def loss(batches: str, processes: str, **arguments: Any) -> None:
    """Time and memory of the losses beside plain restatements, lightly's and pytorch-metric-learning's."""
    numbers = {"batches": _numbers("batches", batches), "processes": _numbers("processes", processes)}
    click.echo(commands.bench_loss(**numbers, **arguments)["table"])


@bench.command()
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder for summary.json and patches.")
@click.option(
    "--manifest",
    metavar="DIR",
    help="Patches to read, labelled negative and otherwise.  [default: drawn ones, JPEG, 224 px]",
)
@click.option("--batch-size", type=int, default=512, show_default=True, help="Patches of a global batch.")
@click.option("--cores", type=int, help="That all may use.  [default: every core]")
@click.option("--rounds", type=int, default=3, show_default=True, help="In each of which everybody has a turn.")
@click.option("--planning", is_flag=True, help="Also plan a manifest of 10 million rows in 200 files.")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that it runs; its figures mean nothing.")
@click.option("--markdown", type=click.Path(), metavar="FILE", help="Write the whole page there as well.")
def data(**arguments: Any) -> None:
    """Patches a second a core beside a torch DataLoader and beside decoding alone, and waiting while training."""
    click.echo(commands.bench_data(**arguments)["table"])


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{option} {text}: write whole numbers with commas between them") from None


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--{option.rstrip('s').replace('label_name', 'label')} {text}: write it as NAME=VALUE")
        found[key] = value
    return found


def _show(summary: Mapping[str, Any], dry_run: bool = False) -> None:
    """The short summary for people, on stdout."""
    click.echo(describe(summary, dry_run=dry_run))
