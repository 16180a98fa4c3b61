"""What `tune` registers in MLflow: the ensemble as a model that MLflow loads, and what it was made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import wsc_ray
from wsc_ray.cohort import Cohort
from wsc_ray.errors import DataError
from wsc_ray.features.store import read_file
from wsc_ray.files import local_folder
from wsc_ray.mil.ensemble import MEMBERS, Member
from wsc_ray.mil.head import CONFIG, WEIGHTS
from wsc_ray.mil.one_bag import predict_bag, speaking
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath
from wsc_ray.tracking import Tracker

ARTIFACT = "mil"
PATH_COLUMN, FOLD_COLUMN = "path", "fold"
CODE = Path(__file__).with_name("mlflow_model.py")


def lineage_of(recipe: Recipe, features: AnyPath, slides: pa.Table, identity: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what the members are made from, for MLflow: what the features' folder says, and this command's."""
    made = read_identity(features, "embed") or {}
    digests = {
        "encoder": made.get("encoder"),
        "manifest": made.get("manifest"),
        "features": identity["features"],
        "cohort": Cohort(slides, "").digest(),
        "recipe": hashlib.sha256(recipe.to_yaml().encode()).hexdigest(),
    }
    return {f"wsc_ray.{name}": str(value) for name, value in digests.items() if value is not None}


def register_members(
    name: str | None, tracker: Tracker, out: AnyPath, classes: list[str], lineage: Mapping[str, str]
) -> dict[str, Any] | None:
    """A version in MLflow's registry, once; None where the recipe or the store wants none."""
    if name is None or not tracker.keeps_artifacts:
        return None
    tags = {**lineage, "wsc_ray.members": _members_digest(out)}
    with _packed_model(out, classes, tags) as model:
        return tracker.register(model, name, tags)


@contextmanager
def _packed_model(out: AnyPath, classes: Sequence[str], lineage: Mapping[str, str]) -> Iterator[Path]:
    """A folder with an MLflow model of the members in `out`; it is deleted at the block's end.

    Args:
        classes: names, in order.
        lineage: digests of what the members were made from, kept in the model's metadata.
    """
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema

    inputs: list[Any] = [ColSpec("string", PATH_COLUMN), ColSpec("string", FOLD_COLUMN, required=False)]
    outputs: list[Any] = [ColSpec("string", "predicted"), *(ColSpec("double", f"prob_{name}") for name in classes)]
    with tempfile.TemporaryDirectory(prefix="wsc-ray-model-") as folder:
        members = Path(folder) / ARTIFACT
        with local_folder(out / MEMBERS) as local:
            shutil.copytree(local, members / MEMBERS)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*input example was not provided"
            )  # the schema says what it takes
            save_model(
                Path(folder) / "model",
                python_model=str(CODE),  # "models from code": nothing is pickled
                artifacts={ARTIFACT: str(members)},
                signature=ModelSignature(Schema(inputs), Schema(outputs)),
                pip_requirements=[f"wsc-ray=={wsc_ray.__version__}"],
                metadata=dict(lineage),
            )
        yield Path(folder) / "model"


def _members_digest(out: AnyPath) -> str:
    """SHA-256 (hex) of the members' files."""
    digest = hashlib.sha256()
    for name in sorted(member.name for member in (out / MEMBERS).iterdir()):
        for file in (WEIGHTS, CONFIG):
            digest.update(f"{name}/{file}\0".encode())
            digest.update(hashlib.sha256((out / MEMBERS / name / file).read_bytes()).digest())
    return digest.hexdigest()


def predict_files(members: Sequence[Member], paths: Sequence[str], folds: Sequence[str | None]) -> np.ndarray:
    """Probabilities (b, C) float64 of slides, each the mean over members.

    Args:
        paths: of files of features, b of them.
        folds: of each, the fold whose members have not seen the slide; None: all members speak.

    Raises:
        DataError: a file that cannot be read, has no patches, features of another width or that are not finite, or a fold without members.
    """
    found = np.empty((len(paths), len(members[0].config["classes"])))
    for row, (path, fold) in enumerate(zip(paths, folds, strict=True)):
        chosen = speaking(members, fold)
        if not chosen:
            raise DataError(f"fold {fold} of {path} has no members; leave it empty for a slide that none has seen")
        features = read_file(path).astype(np.float32, copy=False)
        width = members[0].head.features
        if features.ndim != 2 or not len(features) or features.shape[1] != width:
            raise DataError(f"{path} has features {features.shape}; the heads need some patches of {width} dimensions")
        if not np.isfinite(features).all():
            raise DataError(f"features in {path} are not all finite numbers")
        found[row] = predict_bag(chosen, features)[0].mean(axis=0)
    return found
