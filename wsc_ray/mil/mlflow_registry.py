"""Registering the ensemble in MLflow, as a model that MLflow can load, with the digests of the data it was made from."""

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
from wsc_ray.files import local_folder, read_summary
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
    """Return the digests of the data that the members are made from, as MLflow tags."""
    embed = read_identity(features, "embed") or {}
    digests = {
        "encoder": embed.get("encoder"),
        "manifest": embed.get("manifest"),
        "features": identity["features"],
        "cohort": Cohort(slides, "").digest(),
        "recipe": hashlib.sha256(recipe.to_yaml().encode()).hexdigest(),
    }
    return {f"wsc_ray.{name}": str(value) for name, value in digests.items() if value is not None}


def register_members(
    name: str | None, tracker: Tracker, out: AnyPath, classes: list[str], lineage: Mapping[str, str]
) -> dict[str, Any] | None:
    """Register the members as a model version, once, and describe it.

    Return None if the recipe names no model, or the store keeps no artifacts.
    """
    if name is None or not tracker.keeps_artifacts:
        return None
    tags = {**lineage, "wsc_ray.members": _members_digest(out)}
    with _packed_model(out, classes, tags) as model:
        return tracker.register(model, name, tags)


def model_tag(head: AnyPath) -> dict[str, str]:
    """Return the tag that names the registered model of a head, for the runs that use it; none if it is not registered."""
    registered = (read_summary(head) or {}).get("registered")
    return {"wsc_ray.model": registered["uri"]} if registered else {}


@contextmanager
def _packed_model(out: AnyPath, classes: Sequence[str], lineage: Mapping[str, str]) -> Iterator[Path]:
    """Yield a folder with an MLflow model of the members in `out`; it is deleted at the end of the block.

    Args:
        classes: the classes, in order.
        lineage: digests of the data that the members were made from, stored in the model's metadata.
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
            # The model's schema describes its input, so that no example is needed.
            warnings.filterwarnings("ignore", message=".*input example was not provided")
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
    """Return the SHA-256 (hex) of the members' files."""
    digest = hashlib.sha256()
    for name in sorted(member.name for member in (out / MEMBERS).iterdir()):
        for file in (WEIGHTS, CONFIG):
            digest.update(f"{name}/{file}\0".encode())
            digest.update(hashlib.sha256((out / MEMBERS / name / file).read_bytes()).digest())
    return digest.hexdigest()


def predict_files(members: Sequence[Member], paths: Sequence[str], folds: Sequence[str | None]) -> np.ndarray:
    """Return the probabilities (b, C) float64 of slides, each the mean over members.

    Args:
        paths: b paths of files of features.
        folds: for each file the fold whose members did not see the slide; None to use all members.

    Raises:
        DataError: a file cannot be read, has no patches, or has features of another width or that are not finite; or a fold has
            no members.
    """
    probabilities = np.empty((len(paths), len(members[0].config["classes"])))
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
        probabilities[row] = predict_bag(chosen, features)[0].mean(axis=0)
    return probabilities
