"""Pretrain an encoder: check everything, start or resume a run, train, export the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsc_ray.encoders import IMAGENET
from wsc_ray.encoders.weights import save_state
from wsc_ray.errors import RecipeError
from wsc_ray.files import read_summary
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.clusters import clusters_of
from wsc_ray.pretrain.finish import check_complete, finish, is_exported
from wsc_ray.pretrain.follow import followed
from wsc_ray.pretrain.objective import require_method
from wsc_ray.pretrain.start import initial_encoder, is_readable, pixel_statistics
from wsc_ray.recipe.reading import absolute_paths, load_recipe
from wsc_ray.recipe.sections import MLP, Recipe
from wsc_ray.run_folder import FORMAT, RunFolder
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other
from wsc_ray.storage import as_path
from wsc_ray.stream.clusters import CLUSTERS, Clusters, write_clusters
from wsc_ray.stream.order import MIXED, PURE
from wsc_ray.stream.plan import Plan, divide, plan_of
from wsc_ray.stream.source import named_source, open_source
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
    statistics = pixel_statistics(recipe, start_from)
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
    if done and is_exported(folder):
        return {**done, "already_complete": True}
    metrics_file.read(folder.metrics)  # raises for a damaged line before anything starts

    initial = folder.path / "initial.safetensors"
    state = None if earlier is not None and is_readable(initial) else initial_encoder(recipe, source, start_from)
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, folder.path)

    def work(tracker: Tracker) -> dict[str, Any]:
        folder.write_recipe(recipe.to_yaml())
        if clusters is not None and not (folder.path / CLUSTERS).is_file():
            write_clusters(folder.path / CLUSTERS, clusters)
        if state is not None:  # the weights that every worker starts from
            save_state(state, initial)
        tracker.log_dataset(name=as_path(str(named)).name, digest=source.digest, source=str(named))
        if plan.total_steps == 0:
            return finish(recipe, source, folder, initial, tracker, statistics)
        with followed(folder, plan, tracker, recipe.loss.method):
            last = train(recipe, plan, source, folder, initial, statistics)
        check_complete(folder, last, plan, recipe.loss.method)
        return finish(recipe, source, folder, last, tracker, statistics)

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


def _compared(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that must be the same to resume a run, by the names that a user knows.

    The path or URI of the patches is not among them: it may change.
    """
    names = {"--from": identity["start_from"], "pixels": identity["pixels"], "cohort": identity.get("cohort")}
    names |= {kind: identity[kind]["digest"] for kind in ("manifest", "features") if kind in identity}
    training = identity["training"]
    data = {name: value for name, value in training["data"].items() if name != "manifest"}
    return {**training, "data": data, **names}


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
