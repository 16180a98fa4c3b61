"""The `command` decorator: it registers a function as a command, and sends its calls to a cluster where one is named."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, cast

from wsc_ray.declaration import Declaration, Option, help_of, parameters_of, signature_of
from wsc_ray.describe import describe as describe_summary
from wsc_ray.disk import explained
from wsc_ray.ray_loopback import loopback_only

__all__ = ["COMMANDS", "Option", "command"]

F = TypeVar("F", bound=Callable[..., Any])
COMMANDS: dict[str, Declaration] = {}

# Arguments that several commands share.
Run = Annotated[
    str | Path | None,
    Option(
        "Run folder that `pretrain` made; the recipe and the other folders are found in it.", metavar="DIR", kind="path"
    ),
]
Encoder = Annotated[
    str | Path | None,
    Option(
        "Encoder: a folder that `pretrain` exported, timm:NAME, or local-dir:DIR for a folder that timm saved.  [default: RUN/encoder]",
        metavar="DIR",
        kind="path",
        before=("local-dir:",),
        instead=("timm:",),
    ),
]
Head = Annotated[str | Path | None, Option("Head to use.  [default: RUN/mil]", metavar="DIR", kind="path")]
ListFolder = Annotated[  # beside a list of slides, the argument SLIDES
    str | Path | None,
    Option(
        "Folder that the paths in SLIDES are relative to.  [default: the folder of SLIDES]",
        metavar="DIR",
        kind="path",
        beside="slides",
    ),
]
RecipeFile = Annotated[
    Any,
    Option(
        "Recipe to use.  [default: that of --run; without --run wsc-ray.yaml, or else the defaults]", metavar="FILE"
    ),
]
Overrides = Annotated[
    Any,
    Option(
        "Override a recipe value, such as train.epochs=3; repeatable.", metavar="KEY=VALUE", name="set", kind="texts"
    ),
]
DryRun = Annotated[bool, Option("Check everything, print the plan, and stop.")]
Address = Annotated[
    str | None,
    Option(
        "Run on the cluster whose Ray dashboard has this address, such as http://127.0.0.1:8265.",
        metavar="URL",
    ),
]
Cluster = Annotated[
    str | None,
    Option(
        "Bring up the cluster that this file describes, such as cluster/aws.yaml, and run there; or submit this script, such as cluster/slurm.sh, to Slurm.",
        metavar="FILE",
    ),
]
Down = Annotated[
    Literal["always", "on-success", "never"],
    Option(
        "When to take the --cluster down after the job. It stays up while another job runs on it.", default="on-success"
    ),
]
Yes = Annotated[bool, Option("Start machines that cost money without asking.", default=False)]
Autostop = Annotated[
    str | None,
    Option(
        "Minutes without a job after which the --cluster takes itself down, or never.  [default: 10]", metavar="MINUTES"
    ),
]
KeepFailed = Annotated[
    float | None,
    Option(
        "Minutes that the --cluster stays up after a failed job, so that you can look at it.  [default: 30]",
        metavar="MINUTES",
    ),
]
MaxHours = Annotated[
    float | None, Option("Hours after which the --cluster takes itself down, even while a job runs.", metavar="HOURS")
]
MaxCost = Annotated[
    float | None,
    Option(
        "Dollars that the --cluster may cost; converted to --max-hours at the price of its largest number of machines.",
        metavar="DOLLARS",
    ),
]


class Where(TypedDict, total=False):
    """The options of every command that can run on a cluster: where it runs, and what that may cost.

    A command takes them as `**where: Unpack[Where]` and does not look at them: `remote` does, before the function is called.
    """

    address: Address
    cluster: Cluster
    down: Down
    yes: Yes
    autostop: Autostop
    keep_failed: KeepFailed
    max_hours: MaxHours
    max_cost: MaxCost


def command(name: str, *, sent: bool = False, **about: Any) -> Callable[[F], F]:
    """Declare a function as the command `name`.

    Args:
        sent: whether the command runs on a cluster when `address` or `cluster` names one; its function takes the options of `Where`.
        about: further attributes of `Declaration`.

    Raises:
        TypeError: as `parameters_of`.
        ValueError: another command has this name.
    """

    def declare(function: F) -> F:
        parameters = parameters_of(function)
        signature = signature_of(parameters)

        @functools.wraps(function)
        def run(**arguments: Any) -> Any:
            signature.bind(**arguments)  # TypeError, as of any function: `**where` alone would take every name
            if not sent or (arguments.get("address") is None and arguments.get("cluster") is None):
                with loopback_only(), explained(arguments.get("out")):
                    return function(**arguments)
            from wsc_ray.remote.run import run_there

            return run_there(declaration, arguments)

        cast(Any, run).__signature__ = signature  # what `help(commands.embed)` and editors of notebooks show
        about.setdefault("describe", lambda summary, dry_run: describe_summary(summary, dry_run=dry_run))
        declaration = Declaration(
            name=name, function=run, parameters=parameters, help=help_of(function), sent=sent, **about
        )
        registered = COMMANDS.get(name)
        if registered is not None and registered.function.__module__ != run.__module__:
            raise ValueError(f"two commands are called {name!r}")
        COMMANDS[name] = declaration
        return cast(F, run)

    return declare
