import shutil
from pathlib import Path

import pytest

from tests.mil.conftest import mlflow_store
from tests.report.runs import write_manifest, write_run
from wsc_ray.commands import predict

__all__ = ["mlflow_store"]

HOSTILE = "<img src=x onerror=alert(1)>"  # what a label, a site or a folder can be called


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the same slides, whose labels, site and folder look like HTML."""
    folder = tmp_path_factory.mktemp("report")
    manifest = write_manifest(folder, ("</script><script>alert(2)</script>", HOSTILE), site=HOSTILE)
    return [write_run(folder / "one", manifest), write_run(folder / "<b>two", manifest, seed=1)]


@pytest.fixture(scope="session")
def hostile_prediction(two_runs: list[Path], tmp_path_factory: pytest.TempPathFactory, mlflow_store: str) -> Path:
    """A prediction by the first run of its slides, of which one cannot be read, in a folder that looks like HTML."""
    features = shutil.copytree(two_runs[0] / "features", tmp_path_factory.mktemp("asked") / "features")
    (features / "s2.h5").write_bytes(b"no features")
    out = features.parent / "<i>predicted"
    predict(features=features, run=two_runs[0], out=out, overrides=[f"tracking.uri={mlflow_store}"])
    return out


@pytest.fixture(scope="session")
def report_page(two_runs: list[Path], hostile_prediction: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all three, as the command writes it."""
    from wsc_ray.report.collect import collect
    from wsc_ray.report.page import render
    from wsc_ray.report.places import find_results
    from wsc_ray.report.run import make_report

    path = tmp_path_factory.mktemp("page") / "report.html"
    report, _ = make_report([collect(each) for each in find_results([*two_runs, hostile_prediction])], 100)
    path.write_text(render(report), encoding="utf-8")
    return path
