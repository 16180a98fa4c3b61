"""What runs inside a job on a cluster: the preflight, then the command, then a note about the job in `cluster.json`.

The command is the same function that runs when it is typed on the head, so that a run folder does not depend on where it was
made; only `cluster.json`, beside its summary, names the cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

import wsc_ray
from wsc_ray.autostop.records import WHERE
from wsc_ray.commands import find_command
from wsc_ray.declaration import Declaration
from wsc_ray.errors import ClusterError, UserError
from wsc_ray.files import first_line, read_json, write_json
from wsc_ray.preflight.check_result import CheckResult, as_text, failures
from wsc_ray.preflight.facts import Facts
from wsc_ray.preflight.gather import gather
from wsc_ray.preflight.inputs import input_of, trained_on
from wsc_ray.preflight.storage_probe import nearest
from wsc_ray.preflight.verdicts import preflight
from wsc_ray.ray_session import ray_session
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, RunFolder
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.submit.call import CALL
from wsc_ray.submit.jobs import CLUSTER, JOB_ID
from wsc_ray.tiling.arguments import tiles_first
from wsc_ray.tracking import Tracker
from wsc_ray.tracking_store import FILE, tracking_uri
from wsc_ray.uris import values_without_secrets, without_secrets

NODES_SECONDS = 1200.0


def main(work: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Carry out the call in this job's `call.json`, and exit as the command line would."""
    try:
        call = json.loads(Path(CALL).read_text())
        (work or carry_out)(call)
    except UserError as error:
        print(f"wsc-ray: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("wsc-ray: stopped", file=sys.stderr, flush=True)
        sys.exit(130)


def carry_out(call: Mapping[str, Any]) -> None:
    """Check the cluster, run the command of the call, and print its summary.

    Args:
        call: `command`, `out`, `arguments` and `nodes`, as `submit.call.Call` writes them.

    Raises:
        ClusterError: a check of the preflight failed; nothing has been written.
        UserError: the command raised it.
    """
    sys.path.insert(0, str(Path.cwd()))  # plug-ins sent with the call lie here; `_prepared` changes the folder
    declaration = find_command(call["command"])
    arguments = dict(call["arguments"])
    for parameter in declaration.parameters:
        if parameter.option.kind == "file" and parameter.name in arguments:
            arguments[parameter.name] = str(as_path(arguments[parameter.name]))
    folder = RunFolder(arguments["run"]) if arguments.get("run") else None
    recipe = load_recipe()
    if declaration.takes("recipe"):
        named = arguments.pop("recipe", None) or (folder.checked_recipe() if folder else None)
        recipe = load_recipe(named, arguments.pop("overrides", ()))
        arguments["recipe"] = recipe
    summary = _carried_out(declaration, arguments, recipe, as_path(call["out"]), folder, int(call.get("nodes", 1)))
    print(declaration.describe(values_without_secrets(summary), False), flush=True)


def _carried_out(
    declaration: Declaration,
    arguments: Mapping[str, Any],
    recipe: Recipe,
    place: AnyPath,
    folder: RunFolder | None,
    nodes: int,
) -> Mapping[str, Any]:
    """Run the command, write the note about the job to `place`, and return the summary."""
    folders = [place, *([folder.path] if folder else [])]
    beside = folder.path.parent if folder else place.parent
    cluster = Path(CLUSTER).read_text() if Path(CLUSTER).exists() else None
    trains = declaration.trains
    alone = trains and declaration.takes("recipe") and recipe.train.workers == 1

    def look() -> Facts:
        cuts_first = declaration.cuts_first and tiles_first(recipe)
        read = None if cuts_first else input_of(declaration, arguments, recipe)
        return gather(recipe, read, out=str(place), folders=folders, trains=trains, reduces=trains and not alone)

    with _prepared(beside, nodes, look) as facts:
        started = time.time()
        if before := _ended_by(place):
            print(before, flush=True)
        try:
            summary = declaration.function(**arguments) or {}
        except UserError:
            raise  # the folder may be another run's: write no note to it
        except BaseException:
            note(place, facts, started, cluster)
            raise
        if not summary.get("already_complete"):
            note(place, facts, started, cluster)
            _log(recipe, place, folders, declaration.name)
    return summary


def doctor(call: Mapping[str, Any]) -> None:
    """Run the preflight alone, and print its results as JSON in the last line of the log."""
    arguments = call["arguments"]
    recipe, out = load_recipe(arguments.get("recipe")), arguments.get("out")
    with ray_session():
        place = as_path(out) if out else None
        if isinstance(place, Path):
            os.chdir(nearest(str(place.parent)))
        folders = [place] if place else []
        results = preflight(gather(recipe, trained_on(recipe), out=out, folders=folders, trains=True, reduces=True))
    print(json.dumps(values_without_secrets(results)), flush=True)


@contextlib.contextmanager
def _prepared(beside: AnyPath, nodes: int, look: Callable[[], Facts]) -> Iterator[Facts]:
    """Yield the facts of a cluster that passed the preflight, in a Ray session whose current folder is `beside`.

    Raises:
        ClusterError: a check of the preflight failed, or nodes are missing.
    """
    with ray_session():
        # Ray stops a job with SIGTERM. Handled as Ctrl-C, it marks the MLflow run as killed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if isinstance(beside, Path):
            os.chdir(nearest(str(beside)))
        wait_for_nodes(nodes)
        facts = look()
        check(preflight(facts))
        # Without another MLflow store, `mlflow.db` of the current folder is used. The job's own folder is deleted with the cluster,
        # so that the job moves beside its results. For results in a bucket the store is in the run folder, see `tracking`.
        if isinstance(beside, Path):
            beside.mkdir(parents=True, exist_ok=True)
            os.chdir(beside)
        yield facts


def check(lines: list[CheckResult]) -> None:
    """Print the results of the preflight.

    Raises:
        ClusterError: a check failed.
    """
    print(without_secrets(as_text(lines)), flush=True)
    wrong = failures(lines)
    if wrong:
        names = ", ".join(line["what"] for line in wrong)
        raise ClusterError(f"preflight: nothing was started; these checks failed, see above: {names}")


def wait_for_nodes(count: int, *, seconds: float = NODES_SECONDS) -> None:
    """Wait until `count` nodes are up; in a cloud, workers come minutes after the head.

    Raises:
        ClusterError: fewer are up after `seconds`.
    """
    deadline, printed = time.monotonic() + seconds, None
    while (alive := sum(node["Alive"] for node in ray.nodes())) < count:
        if alive != printed:
            print(f"waiting for nodes: {alive} of {count} are up", flush=True)
            printed = alive
        if time.monotonic() > deadline:
            raise ClusterError(
                f"only {alive} of {count} nodes are up after {seconds / 60:.0f} minutes; `ray monitor` and the cluster's file say "
                "why one is missing (a quota, no spot machines, a login that fails)"
            )
        time.sleep(1)


def note(place: AnyPath, facts: Facts, started: float, cluster: str | None = None) -> None:
    """Add this job to `cluster.json` in a command's output folder: its nodes, their versions, its start and end.

    Nothing is written if the command has written nothing.

    Args:
        started: seconds since 1970.
        cluster: the cluster file as YAML, written beside `cluster.json`.
    """
    if not any((place / name).exists() for name in (IDENTITY, FILE)):
        return
    if cluster:
        (place / CLUSTER).write_text(cluster)
    path = place / WHERE
    earlier = _jobs(path)
    nodes = [
        {"name": node.name, "cpus": node.cpus, "gpus": node.gpus, "versions": node.versions} for node in facts.nodes
    ]
    job = {
        "job": os.environ.get(JOB_ID),
        "wsc_ray": wsc_ray.__version__,
        "started": round(started, 3),
        "ended": round(time.time(), 3),
        "nodes": nodes,
        "all_reduce": asdict(facts.reduce) if facts.reduce else None,
    }
    write_json(path, {"jobs": [*earlier, job]})


def _jobs(path: AnyPath) -> list[Any]:
    """Return the jobs in a `cluster.json`; none if the file is damaged, since nothing depends on it."""
    try:
        jobs = read_json(path)["jobs"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as error:
        print(f"warning: {path} cannot be read and is written anew: {first_line(error)}", file=sys.stderr, flush=True)
        return []
    return jobs if isinstance(jobs, list) else []


def _ended_by(place: AnyPath) -> str | None:
    """Return a sentence about why the last job on this folder was ended from outside; None if it was not."""
    jobs = _jobs(place / WHERE)
    last = jobs[-1] if jobs and isinstance(jobs[-1], dict) else {}
    return f"job {last.get('job')} before this one was ended: {last['ended_by']}" if last.get("ended_by") else None


def _log(recipe: Recipe, place: AnyPath, folders: list[AnyPath], command: str) -> None:
    """Log `cluster.json` and the cluster file to the command's MLflow run, if it has one."""
    if not (place / FILE).exists():
        return
    uri = tracking_uri(recipe.tracking.uri, *folders)
    with Tracker(uri=uri, experiment=recipe.tracking.experiment, folder=place, command=command, params={}) as tracker:
        for name in (WHERE, CLUSTER):
            if (place / name).exists():
                tracker.log_artifact(place / name)
