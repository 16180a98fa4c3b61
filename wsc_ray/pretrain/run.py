"""Pretrain an encoder: check everything, start or resume a run, train, export the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from wsc_ray.encoders import IMAGENET, PixelStatistics, export_encoder, load_exported, load_weights
from wsc_ray.encoders.adapter import export_adapter, is_adapter, read_adapter
from wsc_ray.encoders.model import require_name
from wsc_ray.encoders.weights import WEIGHTS, read_state, save_state, statistics_for
from wsc_ray.errors import CollapseError, RecipeError, RunFolderError, WeightsError
from wsc_ray.feature_files.table import FeatureTable
from wsc_ray.files import read_summary
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.checkpoint import load_state
from wsc_ray.pretrain.clusters import clusters_of
from wsc_ray.pretrain.collapse import sentence
from wsc_ray.pretrain.follow import followed
from wsc_ray.pretrain.model import make_encoder, mlp_shape
from wsc_ray.pretrain.objective import require_method
from wsc_ray.recipe.reading import absolute_paths, load_recipe
from wsc_ray.recipe.sections import MLP, Recipe
from wsc_ray.run_folder import FORMAT, RunFolder
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.stream.clusters import CLUSTERS, Clusters, write_clusters
from wsc_ray.stream.order import MIXED, PURE
from wsc_ray.stream.plan import Plan, divide, plan_of
from wsc_ray.stream.quarantine import read_quarantine
from wsc_ray.stream.record import samples_digest
from wsc_ray.stream.source import Source, named_source, open_source
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

WORDS = {
    "manifest": "the manifest's content: it is another now",
    "features": "the features' content: it is another now",
    "clusters": "the clusters of the pure class: patches are in others now (the features, the slides, or another library made them)",
    "cohort": "the training slides: other slides, patients or labels are chosen (data.cohort, data.target, data.split_column)",
}


def pretrain_encoder(
    *,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    start_from: str | Path | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Pretrain an encoder of patches, or of their features, and write it to `OUT/encoder`.

    The same call resumes an interrupted run at its last checkpoint, in the same MLflow run.

    Args:
        out: the run folder.
        recipe: a recipe or its file; by default `wsc-ray.yaml` of the current folder.
        overrides: `a.b=c`, which replace values of the recipe.
        start_from: a checkpoint, an exported encoder or a .safetensors file whose weights a new run starts from.
        dry_run: check the recipe and the manifest, return the plan and write nothing.

    Returns:
        The summary, which is also in `OUT/summary.json`; for a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    recipe = absolute_paths(recipe)  # the run folder keeps it, and later commands are typed elsewhere
    if recipe.encoder.backbone == MLP and not recipe.data.features:
        raise RecipeError("recipe", [f"`data.features`: missing; encoder.backbone: {MLP} trains on features"])
    source = open_source(recipe.data)
    folder = RunFolder(out)
    require_method(recipe.loss)
    split = divide(source, recipe)
    statistics = _statistics(recipe, start_from)
    kind, named = ("features", recipe.data.features) if recipe.data.features else ("manifest", recipe.data.manifest)
    identity = {
        "format": FORMAT,
        "training": recipe.training_part(),
        kind: {"uri": named, "digest": source.digest},
        "cohort": split.cohort,
        "start_from": shown(as_path(start_from)) if start_from else None,
        "pixels": statistics.to_json() if statistics else None,
    }
    earlier = claim_folder("pretrain", folder.path)
    if earlier is not None:
        folder.read_info()  # refuses another format
        # Identities of earlier versions lack `pixels`, when all pixels were normalised with ImageNet's statistics, and
        # `cohort`, when the manifest's digest covered the slides, too.
        own = {} if recipe.data.cohort else {"cohort": split.cohort}
        before = _compared({"pixels": IMAGENET.to_json(), **own, **earlier})
        start_over = f"start from its weights (--from {folder.checkpoints}/<checkpoint>)"
        refuse_other(folder.path, "a run", before, _compared(identity), words=WORDS, way_out=start_over)
    clusters = None
    if recipe.stream.by == "cluster":  # now that all else is compared, since clustering takes long
        clusters = clusters_of(recipe, source, split.kinds[PURE].groups, folder)
        identity["clusters"] = clusters.digest
        if earlier is not None:
            now = {"clusters": clusters.digest}
            refuse_other(folder.path, "a run", earlier, now, words=WORDS, way_out=start_over)
    plan = plan_of(split, recipe, clusters.numbers if clusters else None)
    if dry_run:
        return {**_plan_summary(plan, recipe, clusters), "out": shown(folder.path), "resumes": earlier is not None}
    done = read_summary(folder.path) if earlier is not None else None
    if done and _is_exported(folder):
        return {**done, "already_complete": True}
    metrics_file.read(folder.metrics)  # raises for a damaged line before anything starts

    initial = folder.path / "initial.safetensors"
    state = None if earlier is not None and _is_readable(initial) else _initial_encoder(recipe, source, start_from)
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, folder.path)

    def work(tracker: Tracker) -> dict[str, Any]:
        folder.write_recipe(recipe.to_yaml())
        if clusters is not None and not (folder.path / CLUSTERS).is_file():
            write_clusters(folder.path / CLUSTERS, clusters)
        if state is not None:  # the weights that every worker starts from
            save_state(state, initial)
        tracker.log_dataset(name=as_path(str(named)).name, digest=source.digest, source=str(named))
        if plan.total_steps == 0:
            return _finish(recipe, source, folder, initial, tracker, statistics)
        with followed(folder, plan, tracker):
            last = train(recipe, plan, source, folder, initial, statistics)
        _check_complete(folder, last, plan)
        return _finish(recipe, source, folder, last, tracker, statistics)

    stage: dict[str, Any] = {
        "out": folder.path,
        "identity": identity,
        "plan": {**_plan_summary(plan, recipe, clusters), "out": shown(folder.path)},
        "params": recipe.model_dump(mode="json", exclude={"embed", "tune", "evaluate", "tracking"}),
        "store": store,
        "work": work,
    }
    if plan.total_steps == 0:
        return carry_out("pretrain", **stage)

    from wsc_ray.pretrain.ray_resources import check_resources
    from wsc_ray.pretrain.ray_train import train
    from wsc_ray.ray_session import ray_session

    with ray_session():
        check_resources(recipe)
        return carry_out("pretrain", **stage)


def _is_readable(weights: AnyPath) -> bool:
    """Return whether a file of weights exists and is undamaged; a run's initial weights can be made again."""
    try:
        read_state(weights)
    except WeightsError:
        return False
    return True


def _is_exported(folder: RunFolder) -> bool:
    """Return whether the run's encoder exists and is undamaged."""
    try:
        if is_adapter(folder.encoder):
            read_adapter(folder.encoder)
        else:
            load_exported(folder.encoder)
    except WeightsError:
        return False
    return True


def _compared(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that must be the same to resume a run, by the names that a user knows.

    The path or URI of the patches is not among them: it may change.
    """
    names = {"--from": identity["start_from"], "pixels": identity["pixels"], "cohort": identity.get("cohort")}
    names |= {kind: identity[kind]["digest"] for kind in ("manifest", "features") if kind in identity}
    training = identity["training"]
    data = {name: value for name, value in training["data"].items() if name != "manifest"}
    return {**training, "data": data, **names}


def _statistics(recipe: Recipe, start_from: str | Path | None) -> PixelStatistics | None:
    """Return the statistics to normalise pixels with: the recipe's, else those of the weights; None for features."""
    encoder = recipe.encoder
    if recipe.data.features:
        return None
    path = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    require_name(encoder.backbone)
    default = statistics_for(encoder.backbone, encoder.weights, as_path(path) if path else None)
    return PixelStatistics(encoder.pixel_mean or default.mean, encoder.pixel_std or default.std)


def _initial_encoder(recipe: Recipe, source: Source, start_from: str | Path | None) -> torch.nn.Module:
    """Return the encoder that a run starts from, built once so that every worker starts from the same weights."""
    encoder = recipe.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = make_encoder(recipe, source, pretrained=encoder.weights == "imagenet" and start_from is None)
    weights = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    if weights is not None:
        load_weights(model, as_path(weights))
    return model


def _check_complete(folder: RunFolder, weights: AnyPath, plan: Plan) -> None:
    """Check that training reached its last step; else `loss.on_collapse: stop` has stopped it.

    Args:
        weights: the last checkpoint.

    Raises:
        CollapseError: training has stopped early.
        RunFolderError: the metrics end before the last checkpoint.
    """
    step, lines = load_state(weights).step, metrics_file.read(folder.metrics)
    last: dict[str, Any] = lines[-1] if lines else {"step": 0}
    if last["step"] < step:
        raise RunFolderError(
            f"{folder.metrics} ends at step {last['step']:,} and the training at {step:,}: the file has been cut; restore it, or delete "
            f"{folder.checkpoints} to train anew"
        )
    if step < plan.total_steps:
        raise CollapseError(
            f"stopped at {sentence(last['step'], last)}; loss.on_collapse: warn goes on with this run from there"
        )


def _finish(
    recipe: Recipe,
    source: Source,
    folder: RunFolder,
    weights: AnyPath,
    tracker: Tracker,
    statistics: PixelStatistics | None,
) -> dict[str, Any]:
    """Export the encoder and return the run's summary."""
    encoder = recipe.encoder
    model = make_encoder(recipe, source)
    model.load_state_dict(read_state(weights))
    if isinstance(source, FeatureTable):
        export_adapter(model, folder.encoder, shape=mlp_shape(recipe, source), features=source.encoder)
    else:
        assert statistics is not None  # only runs on features have none
        size = recipe.augment.size
        export_encoder(
            model, folder.encoder, name=encoder.backbone, size=size, norm=encoder.norm, statistics=statistics
        )
    lines = metrics_file.read(folder.metrics)
    rates = sorted(line["patches_per_second"] for line in lines if "patches_per_second" in line)
    tracker.log_artifact(folder.recipe)
    tracker.log_artifact(folder.encoder, "encoder")
    return {
        "encoder": shown(folder.encoder / WEIGHTS),
        "steps_done": lines[-1]["step"] if lines else 0,
        "loss": lines[-1]["loss"] if lines else None,
        "patches_per_second": rates[len(rates) // 2] if rates else None,
        "bad_patches": len(read_quarantine(folder.path)),
        **({"samples_sha256": samples_digest(folder.path)} if recipe.stream.record else {}),
        "recipe_digest": recipe.digest(),
    }


def _plan_summary(plan: Plan, recipe: Recipe, clusters: Clusters | None) -> dict[str, Any]:
    return {
        "method": recipe.loss.method,
        "backbone": recipe.encoder.backbone,
        "features" if recipe.data.features else "manifest": named_source(recipe.data),
        "cohort": recipe.data.cohort,
        "notes": [*plan.notes, *(clusters.notes if clusters else ())],
        "labels": {"pure": list(plan.labels[: plan.pure]), "mixed": list(plan.labels[plan.pure :])},
        "patches": {"pure": plan.patches(PURE), "mixed": plan.patches(MIXED)},
        **({"clusters": {**clusters.counts(), "digest": clusters.digest}} if clusters else {}),
        "workers": recipe.train.workers,
        "batch_size": plan.geometry.batch_size,
        "epochs": plan.epochs,
        "steps_per_epoch": plan.geometry.steps,
        "steps": plan.total_steps,
    }
