"""What tests of `predict` share: a store of features, a head of three members on them, and what a folder holds."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tests.evaluate.test_run import write_head
from tests.mil.cohort import write_store
from tests.mil.conftest import mlflow_store, one_thread
from wsc_ray.files import write_json

__all__ = ["mlflow_store", "one_thread"]

EMBED = {"command": "embed", "encoder": "a" * 64, "size": 32}
MEMBERS = 3


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features, and a head of three members that were fitted to them."""
    folder = tmp_path_factory.mktemp("made")
    features = write_store(folder / "features", shift=1.0)
    write_json(features / "identity.json", EMBED)
    for seed in range(MEMBERS):
        # Another seed is another fit; here other slides do.
        part = write_store(folder / f"part-{seed}", shift=1.0, seed=seed)
        write_head(
            part, folder / "mil" / "members" / f"seed-{seed}", seed=seed, embed={"encoder": "a" * 64, "size": 32}
        )
        shutil.rmtree(part)
    return folder


@pytest.fixture
def places(made: Path, tmp_path: Path) -> dict[str, Path]:
    for name in ("features", "mil"):
        shutil.copytree(made / name, tmp_path / "run" / name)
    return {"features": tmp_path / "run" / "features", "head": tmp_path / "run" / "mil", "out": tmp_path / "predicted"}


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def there(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []
