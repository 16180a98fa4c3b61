"""Inside a job: the preflight, then the command, then a note of where it ran.

The same as the command typed on the head, so that a run folder does not show where it was made, apart from
`cluster.json` beside its summary.
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
from wsc_ray.preflight.storage_probe import nearest
from wsc_ray.preflight.verdicts import preflight
from wsc_ray.ray_session import ray_session
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, RunFolder
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.submit.call import CALL
from wsc_ray.submit.jobs import CLUSTER, JOB_ID
from wsc_ray.tracking import FILE, Tracker, tracking_uri
from wsc_ray.uris import values_without_secrets, without_secrets

NODES_SECONDS = 1200.0


def main(work: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Carry out the call that lies beside this job, and end the process as the command line would."""
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
    """Check the cluster, do what the call asks, and print its summary.

    Args:
        call: `command`, `out`, `arguments` and `nodes`, as `submit.call.Call` writes them.

    Raises:
        ClusterError: the preflight has found something wrong; nothing has been written.
        UserError: what the command raises.
    """
    sys.path.insert(0, str(Path.cwd()))  # carried plug-ins lie here, and the folder is left for the results'
    declaration = find_command(call["command"])
    arguments = dict(call["arguments"])
    for parameter in declaration.parameters:
        if parameter.option.kind == "file" and parameter.name in arguments:
            arguments[parameter.name] = str(Path(arguments[parameter.name]).absolute())
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
    """The command's summary, with a note of where it ran left in `place`."""
    folders = [place, *([folder.path] if folder else [])]
    beside = folder.path.parent if folder else place.parent
    cluster = Path(CLUSTER).read_text() if Path(CLUSTER).exists() else None
    trains = declaration.trains
    alone = trains and declaration.takes("recipe") and recipe.train.workers == 1

    def look() -> Facts:
        return gather(recipe, out=str(place), folders=folders, trains=trains, reduces=trains and not alone)

    with _prepared(beside, nodes, look) as facts:
        started = time.time()
        if before := _ended_by(place):
            print(before, flush=True)
        try:
            summary = declaration.function(**arguments) or {}
        except UserError:
            raise  # the folder may be somebody else's: nothing is left there
        except BaseException:
            note(place, facts, started, cluster)
            raise
        if not summary.get("already_complete"):
            note(place, facts, started, cluster)
            _log(recipe, place, folders, declaration.name)
    return summary


def doctor(call: Mapping[str, Any]) -> None:
    """Print the preflight's results alone, as JSON in the log's last line."""
    arguments = call["arguments"]
    recipe, out = load_recipe(arguments.get("recipe")), arguments.get("out")
    with ray_session():
        place = as_path(out) if out else None
        if isinstance(place, Path):
            os.chdir(nearest(str(place.parent)))
        results = preflight(gather(recipe, out=out, folders=[place] if place else [], trains=True, reduces=True))
    print(json.dumps(values_without_secrets(results)), flush=True)


@contextlib.contextmanager
def _prepared(beside: AnyPath, nodes: int, look: Callable[[], Facts]) -> Iterator[Facts]:
    """A session on the cluster that has passed the preflight, from the folder in which a command's results will lie.

    Raises:
        ClusterError: as `carry_out`.
    """
    with ray_session():
        # Ray ends a stopped job with SIGTERM: as Ctrl-C, it marks the MLflow run as killed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if isinstance(beside, Path):
            os.chdir(nearest(str(beside)))
        wait_for_nodes(nodes)
        facts = look()
        check(preflight(facts))
        # The MLflow store of last resort is `mlflow.db` where one stands; the job's own folder is gone with the cluster.
        # Of a bucket it lies in the run folder, see `tracking`.
        if isinstance(beside, Path):
            beside.mkdir(parents=True, exist_ok=True)
            os.chdir(beside)
        yield facts


def check(lines: list[CheckResult]) -> None:
    """Print the lines.

    Raises:
        ClusterError: some of them are failures.
    """
    print(without_secrets(as_text(lines)), flush=True)
    wrong = failures(lines)
    if wrong:
        names = ", ".join(line["what"] for line in wrong)
        raise ClusterError(f"preflight: nothing was started; mend what is said above of: {names}")


def wait_for_nodes(count: int, *, seconds: float = NODES_SECONDS) -> None:
    """Return once so many nodes are up; those of a cloud follow the head by minutes.

    Raises:
        ClusterError: they are not, after `seconds`.
    """
    deadline, said = time.monotonic() + seconds, None
    while (alive := sum(node["Alive"] for node in ray.nodes())) < count:
        if alive != said:
            print(f"waiting for nodes: {alive} of {count} are up", flush=True)
            said = alive
        if time.monotonic() > deadline:
            raise ClusterError(
                f"only {alive} of {count} nodes are up after {seconds / 60:.0f} minutes; `ray monitor` and the cluster's file say "
                "why one is missing (a quota, no spot machines, a login that fails)"
            )
        time.sleep(1)


def note(place: AnyPath, facts: Facts, started: float, cluster: str | None = None) -> None:
    """Add this job to `cluster.json` of a command's output folder: its nodes, their versions, and when.

    Args:
        cluster: YAML of the cluster's file, kept beside it.

    Where the command had not begun to write, there is nothing to note.
    """
    if not any((place / name).exists() for name in (IDENTITY, FILE)):
        return
    if cluster:
        (place / CLUSTER).write_text(cluster)
    path = place / WHERE
    known = _jobs(path)
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
    write_json(path, {"jobs": [*known, job]})


def _jobs(path: AnyPath) -> list[Any]:
    """The jobs in a `cluster.json`; a damaged one, which nothing is decided by, is begun anew."""
    try:
        jobs = read_json(path)["jobs"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as error:
        print(f"warning: {path} cannot be read and is written anew: {first_line(error)}", file=sys.stderr, flush=True)
        return []
    return jobs if isinstance(jobs, list) else []


def _ended_by(place: AnyPath) -> str | None:
    """Why the last job on this folder was ended from outside, where it was."""
    jobs = _jobs(place / WHERE)
    last = jobs[-1] if jobs and isinstance(jobs[-1], dict) else {}
    return f"job {last.get('job')} before this one was ended: {last['ended_by']}" if last.get("ended_by") else None


def _log(recipe: Recipe, place: AnyPath, folders: list[AnyPath], command: str) -> None:
    """Put `cluster.json` into the command's MLflow run, where it has one."""
    if not (place / FILE).exists():
        return
    uri = tracking_uri(recipe.tracking.uri, *folders)
    with Tracker(uri=uri, experiment=recipe.tracking.experiment, folder=place, command=command, params={}) as tracker:
        for name in (WHERE, CLUSTER):
            if (place / name).exists():
                tracker.log_artifact(place / name)
