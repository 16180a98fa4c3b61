"""The end of a pretraining: check that its last step was reached, export the encoder, and summarise the run."""

from __future__ import annotations

from typing import Any

from wsc_ray.encoders import PixelStatistics, export_encoder, load_exported
from wsc_ray.encoders.adapter import export_adapter, is_adapter, read_adapter
from wsc_ray.encoders.weights import WEIGHTS, read_state
from wsc_ray.errors import CollapseError, RunFolderError, WeightsError
from wsc_ray.feature_files.table import FeatureTable
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.checkpoint import load_state
from wsc_ray.pretrain.collapse import sentence
from wsc_ray.pretrain.model import make_encoder, mlp_shape
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.quarantine import read_quarantine
from wsc_ray.stream.record import samples_digest
from wsc_ray.stream.source import Source
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown


def is_exported(folder: RunFolder) -> bool:
    """Return whether the run's encoder exists and is undamaged."""
    try:
        if is_adapter(folder.encoder):
            read_adapter(folder.encoder)
        else:
            load_exported(folder.encoder)
    except WeightsError:
        return False
    return True


def check_complete(folder: RunFolder, weights: AnyPath, plan: Plan, method: str) -> None:
    """Check that training reached its last step; else `loss.on_collapse: stop` has stopped it.

    Args:
        weights: the last checkpoint.
        method: name of the loss.

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
            f"stopped at {sentence(last['step'], last, method)}; loss.on_collapse: warn goes on with this run from there"
        )


def finish(
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
