"""The program `wsc-ray`: each declared command as a click command; a name of two words is a command in a group."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from wsc_ray import __version__
from wsc_ray.cli.parameters import as_click, as_value
from wsc_ray.command import COMMANDS
from wsc_ray.commands import all_commands
from wsc_ray.declaration import Declaration
from wsc_ray.errors import PluginError, RunFolderError, UserError
from wsc_ray.uris import values_without_secrets, without_secrets

# Order of the commands in the help: the steps from slides to metrics, then the tools around them.
_ORDER = (
    "init",
    "tile",
    "manifest",
    "cohort",
    "pretrain",
    "embed",
    "features",
    "probe",
    "tune",
    "evaluate",
    "report",
    "predict",
    "neighbours",
    "run",
    "demo",
    "doctor",
    "job",
    "bench",
)
_GROUPS = {
    "manifest": "Make and check the table of patches.",
    "cohort": "Divide the table of slides into folds.",
    "features": "Take over features of other tools.",
    "neighbours": "Find patches that look alike.",
    "job": "Come back to a job on a cluster.",
    "bench": "Measure this machine, or a cluster.",
}


class Program(click.Group):
    """A click group that prints a `UserError` as one sentence and exits with its status: 2, or that of a failed job."""

    problem: UserError | None = None

    def invoke(self, context: click.Context) -> Any:
        try:
            if self.problem is not None:
                raise self.problem
            return super().invoke(context)
        except click.UsageError as error:
            said = error.format_message()
            if without_secrets(said) == said:
                raise
            raise click.UsageError(without_secrets(said), error.ctx) from None
        except UserError as error:
            click.echo(f"wsc-ray: {error}", err=True)
            context.exit(error.exit_status)

    def list_commands(self, context: click.Context) -> list[str]:
        first = [name for name in _ORDER if name in self.commands]
        return [*first, *sorted(set(self.commands) - set(first))]


def build(declarations: list[Declaration]) -> Program:
    """Return the whole command line."""
    program = Program(
        "wsc-ray",
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    click.version_option(__version__, prog_name="wsc-ray")(program)
    for declaration in declarations:
        *above, name = declaration.name.split()
        group: click.Group = program
        for word in above:
            subgroup = group.commands.get(word)
            if not isinstance(subgroup, click.Group):
                subgroup = click.Group(word, help=_GROUPS.get(word, f"Commands of {word}."))
                group.add_command(subgroup)
            group = subgroup
        group.add_command(_click_command(declaration, name))
    return program


def _click_command(declaration: Declaration, name: str) -> click.Command:
    def callback(**values: Any) -> None:
        as_json = values.pop("as_json", False)
        arguments = {
            parameter.name: as_value(parameter, values[parameter.name]) for parameter in declaration.parameters
        }
        result = declaration.function(**arguments)
        dry_run = bool(arguments.get("dry_run"))
        shown = values_without_secrets(result)
        _print(json.dumps(shown, indent=2) if as_json else declaration.describe(shown, dry_run))
        status = declaration.exit_status(result)
        if status:
            click.get_current_context().exit(status)

    parameters = [as_click(parameter) for parameter in declaration.parameters]
    if declaration.json:
        parameters.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
    short = declaration.help.splitlines()[0]
    return click.Command(name, callback=callback, params=parameters, help=declaration.help, short_help=short)


def _print(text: str) -> None:
    """Print the summary.

    Raises:
        RunFolderError: standard output goes to a file on a full disk; the work is complete.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as error:
        with open(os.devnull, "w") as nowhere:  # or Python would fail again when it ends
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise RunFolderError(
            f"the summary cannot be printed: {error.strerror or error}; the command is complete, and its output is whole"
        ) from None


_HELP = """Weakly supervised contrastive pretraining of patch encoders, from slide labels alone, on Ray.

\b
From slides to metrics:
  wsc-ray init                                 a commented recipe, wsc-ray.yaml
  wsc-ray tile SLIDES --out DIR                slides -> manifest
  wsc-ray manifest import TABLE --out DIR      or patches -> manifest
  wsc-ray pretrain --out RUN                   manifest -> encoder
  wsc-ray embed --run RUN                      encoder -> features
  wsc-ray probe --run RUN                      features, measured without a head
  wsc-ray tune --run RUN                       features -> MIL head
  wsc-ray evaluate --run RUN                   head -> metrics on the test split
  wsc-ray report RUN --out DIR                 all of it on one page, report.html
  wsc-ray run RECIPE --out RUN                 pretrain, embed, tune and evaluate as one
"""


def _program() -> Program:
    try:
        return build(all_commands())
    except PluginError as error:  # said once a command is typed, and not when this is imported
        program = build(list(COMMANDS.values()))
        program.problem = error
        return program


main = _program()
