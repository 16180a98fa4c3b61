"""What tests share: one Ray, one small cohort and its manifest, one finished run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before torch is imported anywhere: on a small machine threads of several processes only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings as hypothesis_settings

from wsc_ray.ray_loopback import loopback_only

# Before a test's module does, and as a command does: Ray then keeps to this machine, and trainings meet in a file.
with loopback_only():
    import ray  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
COHORTS = os.environ.get("WSC_RAY_COHORTS")

# Tests do not time, and try the same examples each time; `--hypothesis-profile=search` looks for others.
hypothesis_settings.register_profile("same", deadline=None, derandomize=True)
hypothesis_settings.register_profile("search", deadline=None)
hypothesis_settings.load_profile("same")


# Files whose tests start clusters, or commands that do, in processes of their own, and those that take long without Ray.
CLUSTERS = (
    "anywhere/",
    "bench/test_data_command.py",
    "bench/test_scaling_command.py",
    "cluster/test_autostop.py",
    "cluster/test_autostop_aws.py",
    "cluster/test_aws.py",
    "cluster/test_files.py",
    "cluster/test_gcp.py",
    "cluster/test_jobs.py",
    "cluster/test_launcher.py",
    "cluster/test_nodes.py",
    "cluster/test_slurm_jobs.py",
    "mil/test_adaptive.py",
    "mil/test_mlflow_registry.py",
    "mil/test_nested.py",
    "mil/test_plugin.py",
    "mil/test_search.py",
    "mil/test_stored.py",
    "test_steps.py",
    "test_tracking.py",
)
SLOW = (
    "bench/test_loss_command.py",
    "report/test_browser.py",
    "stream/test_s3.py",
    "test_gpu_benchmark.py",
    "pretrain/test_invariance.py",
    "losses/test_collectives.py",
    "test_pure_rooms.py",
)


# Files that take longest, longest first. Where files run side by side, a long one that begins last would run on alone.
LONGEST = (
    "cluster/test_jobs.py",
    "bench/test_scaling_command.py",
    "mil/test_search.py",
    "test_readme.py",
    "anywhere/test_bucket.py",
    "tiling/test_run.py",
    "features/test_embed.py",
    "pretrain/test_broken_input.py",
    "mil/test_adaptive.py",
    "mil/test_nested.py",
    "pretrain/test_ray_train.py",
    "cluster/test_slurm_jobs.py",
)
# Its machines wait for each other more than they work, and have to come up within the limits that a user waits for: it runs
# beside the tests that start nothing.
LAUNCHER = "cluster/test_launcher.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they start, so that `make test-fast` can leave them out, and put files in an order that two processes share
    evenly: the launcher's, those that start nothing, the longest, the others."""
    here = Path(__file__).parent
    places: dict[str, tuple[int, int]] = {}
    for item in items:
        name = item.path.relative_to(here).as_posix()
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
        if name.startswith(CLUSTERS):
            item.add_marker(pytest.mark.cluster)
        if name.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        starts = any(item.get_closest_marker(mark) for mark in ("ray", "cluster", "slow"))
        own = (0, 0) if name == LAUNCHER else (2, LONGEST.index(name)) if name in LONGEST else (3 if starts else 1, 0)
        places[name] = max(places.get(name, own), own)
    items.sort(key=lambda item: places[item.path.relative_to(here).as_posix()])


@pytest.fixture(autouse=True)
def own_tracking(monkeypatch):
    """A test's runs go to the store that its recipe names or to its own folder, never to the developer's."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray for all tests in this process, since each start costs ten seconds; its workers have the keys of `s3`."""
    from tests.s3 import keys_in_environment
    from wsc_ray.ray_session import ray_session

    with keys_in_environment(), ray_session(num_cpus=4, code=ROOT):
        yield


@pytest.fixture(scope="session")
def s3():
    """A `tests.s3.Store`: an S3 server of this process; its keys are in the environment from then on."""
    from tests.s3 import started_store

    with started_store() as store:
        yield store


@pytest.fixture(scope="session")
def gang_of(tmp_path_factory):
    """`gang_of(n)`: n workers in one gloo group, started once for all tests; see `tests.gang.Gang`."""
    from tests.gang import Gang

    gangs: dict[int, Gang] = {}

    def get(size: int) -> Gang:
        if size not in gangs:
            gangs[size] = Gang(size, f"file://{tmp_path_factory.mktemp('gloo')}/meet")
        return gangs[size]

    yield get
    for gang in gangs.values():
        gang.close()


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """A raw table of a small synthetic cohort, as somebody would bring it."""
    from wsc_ray.demo.cohort import write_cohort

    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder / "raw", slides=(12, 6, 8), patches_per_slide=12, seed=3)
    return folder / "raw" / "patches.parquet"


@pytest.fixture(scope="session")
def manifest(cohort, tmp_path_factory) -> Path:
    """The manifest of that cohort, in row groups small enough that windows span several."""
    from wsc_ray.commands import manifest_import

    out = tmp_path_factory.mktemp("manifest") / "manifest"
    manifest_import(
        source=cohort,
        out=out,
        columns={"label": "slide_label"},
        label_names={"0": "negative", "1": "positive"},
        row_group_rows=16,
    )
    return out


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """`new_store()`: URI of an MLflow store without runs. MLflow makes its tables once, which takes a second, and they are copied."""
    from mlflow import MlflowClient

    empty = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()

    def copied() -> str:
        store = tmp_path_factory.mktemp("store") / "mlflow.db"
        shutil.copyfile(empty, store)
        return f"sqlite:///{store}"

    return copied


@pytest.fixture
def settings(manifest, new_store) -> dict:
    """`small_recipe` with a store of the test's own, to change."""
    return small_recipe(manifest, new_store())


def small_recipe(manifest: Path, store: str | None = None) -> dict:
    """A recipe that trains in seconds, as a dictionary."""
    return {
        "data": {"manifest": str(manifest)},
        "encoder": {"backbone": "test_resnet", "weights": "random", "head_hidden": 16, "head_dim": 8},
        "loss": {"similarity_weight": 0.1, "similarity_warmup": 4},
        "augment": {"size": 32},
        "stream": {"sampling": "epoch", "shards": 4, "window": 2},
        "train": {
            "epochs": 2,
            "steps_per_epoch": 4,
            "batch_size": 16,
            "workers": 2,
            "cpus_per_worker": 0.5,
            "warmup_epochs": 0,
            "lr": 0.05,
            "log_every": 1,
            "checkpoint_every": 2,
        },
        "tune": {"trials": 2, "epochs": 2, "concurrent": 1},
        "evaluate": {"bootstrap": 100},
        "tracking": {"uri": store},
    }


def invoke(*arguments: str | Path, program: click.Command | None = None) -> Result:
    """Run a command line in this process, that of `wsc-ray` or another program's."""
    from wsc_ray.cli import main

    result = CliRunner().invoke(program or main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def wsc_ray_command():
    """Run a command line in this process: (exit status, stdout and stderr together)."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        result = invoke(*arguments)
        return result.exit_code, result.output

    return run
