"""The command: check everything, start or resume, train, export the encoder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import wsc_ray
from wsc_ray.encoders import IMAGENET, PixelStatistics, build_encoder, export_encoder, load_weights
from wsc_ray.encoders.weights import WEIGHTS, read_state, save_state, statistics_for
from wsc_ray.errors import CollapseError, DataError, RecipeError, RunFolderError
from wsc_ray.files import read_summary, write_json, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.collapse import sentence
from wsc_ray.pretrain.follow import followed
from wsc_ray.pretrain.objective import require_method
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import FORMAT, RunFolder
from wsc_ray.storage import AnyPath, as_path, check_store, shown
from wsc_ray.stream.order import MIXED, PURE
from wsc_ray.stream.plan import Plan, make_plan
from wsc_ray.stream.quarantine import read_quarantine
from wsc_ray.stream.record import samples_digest
from wsc_ray.tracking import Tracker, connect, tracking_uri


def pretrain_encoder(
    *,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    start_from: str | Path | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Pretrain a patch encoder and leave it in `OUT/encoder`.

    The same call again resumes a run that was interrupted, at its last checkpoint and in the same MLflow run.

    Args:
        out: the run folder.
        recipe: a recipe or its file; by default `wsc-ray.yaml` of the current folder.
        overrides: `a.b=c`, over the recipe.
        start_from: a checkpoint, an exported encoder or a .safetensors file whose weights a new run starts from.
        dry_run: check the recipe and the manifest, return the plan and touch nothing.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    if not recipe.data.manifest:
        raise RecipeError("recipe", ["`data.manifest`: missing; name the folder that `wsc-ray manifest import` wrote"])
    folder = RunFolder(out)
    manifest = open_manifest(recipe.data.manifest)
    if manifest.pixels == "slide_uri":
        raise DataError(
            f"the patches of {recipe.data.manifest} are regions of slides, which cannot be read yet; import a table with "
            "their images or image files"
        )
    require_method(recipe.loss)
    plan = make_plan(manifest, recipe)
    statistics = _statistics(recipe, start_from)
    identity = {
        "format": FORMAT,
        "training": recipe.training_part(),
        "manifest": {"uri": recipe.data.manifest, "digest": manifest.digest},
        "start_from": shown(as_path(start_from)) if start_from else None,
        "pixels": statistics.to_json(),
    }
    resumes = _check_folder(folder, identity)
    if dry_run:
        return {**_plan_summary(plan, recipe), "out": shown(folder.path), "resumes": resumes}
    done = read_summary(folder.path) if resumes else None
    if done and folder.encoder.is_dir():
        return {**done, "already_complete": True}

    initial = folder.path / "initial.safetensors"
    state = None if resumes and initial.exists() else _initial_encoder(recipe, start_from)
    uri = tracking_uri(recipe.tracking.uri, folder.path)
    connect(uri, recipe.tracking.experiment)

    def begin() -> None:
        """The first thing that is written, once nothing is left that can be found wrong."""
        write_json(folder.info, {**identity, "wsc_ray": wsc_ray.__version__})
        folder.recipe.write_text(recipe.to_yaml())
        if state is not None:
            save_state(state, initial)

    started = time.time()
    if plan.total_steps == 0:
        begin()
        with _tracker(uri, recipe, folder, manifest.digest) as tracker:
            return _finish(recipe, plan, folder, initial, started, tracker, statistics)

    from wsc_ray.pretrain.ray_train import check_resources, train
    from wsc_ray.ray_session import ray_session

    with ray_session():
        check_resources(recipe)
        begin()
        with _tracker(uri, recipe, folder, manifest.digest) as tracker:
            with followed(folder, plan, tracker):
                last = train(recipe, plan, manifest, folder, initial, statistics)
            _check_complete(folder, plan)
            return _finish(recipe, plan, folder, last, started, tracker, statistics)


def _check_folder(folder: RunFolder, identity: dict[str, Any]) -> bool:
    """Whether `folder` holds this very run already.

    Raises:
        RunFolderError: it holds something else; the message lists what differs.
    """
    check_store(folder.path)
    if folder.path.exists() and not folder.path.is_dir():
        raise RunFolderError(f"{folder.path} is a file; give a folder that is new, or a run's to resume")
    if not folder.path.exists() or not any(folder.path.iterdir()):
        return False
    if not folder.info.exists():
        raise RunFolderError(
            f"{folder.path} is not empty and no run of wsc-ray; give a folder that is new, or a run's to resume"
        )
    known = folder.read_info()
    differences = _differences(known["training"], identity["training"])
    if known["manifest"]["digest"] != identity["manifest"]["digest"]:
        differences.append(
            f"the manifest's content: {known['manifest']['digest'][:12]} there, {identity['manifest']['digest'][:12]} here"
        )
    before = known.get("pixels", IMAGENET.to_json())  # all that there was before it was kept
    differences += _differences(before, identity["pixels"], "encoder.pixel_")
    if known["start_from"] != identity["start_from"]:
        differences.append(f"--from: {known['start_from']} there, {identity['start_from']} here")
    if differences:
        raise RunFolderError(
            f"{folder.path} is a run of another recipe; give a new --out (with --from {folder.checkpoints}/<checkpoint> to start from "
            "its weights), or undo:\n" + "\n".join(f"  {line}" for line in differences)
        )
    return True


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in before | now:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"`{prefix}{key}`: {old} there, {new} here")
    return found


def _statistics(recipe: Recipe, start_from: str | Path | None) -> PixelStatistics:
    """What pixels are normalised with: the recipe's word, else what the weights were trained with."""
    encoder = recipe.encoder
    path = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    known = statistics_for(encoder.backbone, encoder.weights, as_path(path) if path else None)
    return PixelStatistics(encoder.pixel_mean or known.mean, encoder.pixel_std or known.std)


def _initial_encoder(recipe: Recipe, start_from: str | Path | None) -> torch.nn.Module:
    """The encoder that a run starts from: built once, so that every worker starts from the same."""
    encoder = recipe.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_encoder(
            encoder.backbone,
            size=recipe.augment.size,
            head_hidden=encoder.head_hidden,
            head_dim=encoder.head_dim,
            norm=encoder.norm,
            pretrained=encoder.weights == "imagenet" and start_from is None,
        )
    weights = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    if weights is not None:
        load_weights(model, as_path(weights))
    return model


def _tracker(uri: str, recipe: Recipe, folder: RunFolder, digest: str) -> Tracker:
    params = recipe.model_dump(mode="json", exclude={"embed", "tune", "evaluate", "tracking"})
    tracker = Tracker(
        uri=uri, experiment=recipe.tracking.experiment, folder=folder.path, command="pretrain", params=params
    )
    tracker.log_dataset(name=as_path(recipe.data.manifest).name, digest=digest, source=recipe.data.manifest)
    return tracker


def _check_complete(folder: RunFolder, plan: Plan) -> None:
    """Training that ended before its last step was stopped by `loss.on_collapse: stop`.

    Raises:
        CollapseError: it was.
    """
    last = metrics_file.read(folder.metrics)[-1]
    if last["step"] < plan.total_steps:
        raise CollapseError(
            f"stopped at {sentence(last['step'], last)}; loss.on_collapse: warn goes on with this run from there"
        )


def _finish(
    recipe: Recipe,
    plan: Plan,
    folder: RunFolder,
    weights: AnyPath,
    started: float,
    tracker: Tracker,
    statistics: PixelStatistics,
) -> dict[str, Any]:
    """Export the encoder, write the summary, and put both into MLflow."""
    encoder = recipe.encoder
    model = build_encoder(
        encoder.backbone,
        size=recipe.augment.size,
        head_hidden=encoder.head_hidden,
        head_dim=encoder.head_dim,
        norm=encoder.norm,
    )
    model.load_state_dict(read_state(weights))
    export_encoder(
        model, folder.encoder, name=encoder.backbone, size=recipe.augment.size, norm=encoder.norm, statistics=statistics
    )
    lines = metrics_file.read(folder.metrics)
    rates = sorted(line["patches_per_second"] for line in lines)
    summary = {
        **_plan_summary(plan, recipe),
        "out": shown(folder.path),
        "encoder": shown(folder.encoder / WEIGHTS),
        "steps_done": lines[-1]["step"] if lines else 0,
        "loss": lines[-1]["loss"] if lines else None,
        "patches_per_second": rates[len(rates) // 2] if rates else None,
        "bad_patches": len(read_quarantine(folder.path)),
        **({"samples_sha256": samples_digest(folder.path)} if recipe.stream.record else {}),
        "seconds": round(time.time() - started, 1),
        "recipe_digest": recipe.digest(),
        "mlflow": {"run_id": tracker.run_id, "look": tracker.ui_command},
    }
    tracker.log_artifact(folder.recipe)
    tracker.log_artifact(folder.encoder, "encoder")
    return write_summary(folder.path, "pretrain", summary)


def _plan_summary(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    return {
        "method": recipe.loss.method,
        "backbone": recipe.encoder.backbone,
        "manifest": recipe.data.manifest,
        "labels": {"pure": list(plan.labels[: plan.pure]), "mixed": list(plan.labels[plan.pure :])},
        "patches": {"pure": plan.patches(PURE), "mixed": plan.patches(MIXED)},
        "workers": recipe.train.workers,
        "batch_size": plan.geometry.batch_size,
        "epochs": plan.epochs,
        "steps_per_epoch": plan.geometry.steps,
        "steps": plan.total_steps,
    }
