"""The Ray Train glue: N workers run the loop, from the last checkpoint if there is one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from wsc_ray.distributed import all_gather_bytes
from wsc_ray.encoders import PixelStatistics
from wsc_ray.encoders.weights import read_state
from wsc_ray.errors import UserError
from wsc_ray.files import local_folder
from wsc_ray.pretrain import checkpoint, ending, metrics_file
from wsc_ray.pretrain.clock import Clock
from wsc_ray.pretrain.loop import Loop, Metrics, make_optimizer
from wsc_ray.pretrain.model import make_encoder
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.pretrain.ray_rendezvous import FileRendezvous, loopback_variables, on_loopback
from wsc_ray.pretrain.ray_resources import cluster_cpus, uses_gpu
from wsc_ray.pretrain.resume import checkpoint_name, forget_notes, keep_newest, newest_whole
from wsc_ray.pretrain.watch import Watch
from wsc_ray.ray_memory import KEEP_MEMORY
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.ray_data import worker_batches
from wsc_ray.stream.readers import readers_for
from wsc_ray.stream.source import Source


def train(
    recipe: Recipe, plan: Plan, source: Source, folder: RunFolder, initial: AnyPath, statistics: PixelStatistics | None
) -> AnyPath:
    """Train to the end, from the last checkpoint in the run folder if there is one, and return the final checkpoint.

    Args:
        initial: safetensors with the weights that every worker starts from.
        statistics: mean and standard deviation that pixels are normalised with; None for features.

    Raises:
        UserError: a worker found a mistake of the user, such as too many unreadable patches.
    """
    ending.clear(folder.path)
    kept = recipe.train.keep_checkpoints
    resumed = newest_whole(folder.checkpoints)
    forget_notes(folder.checkpoints)
    if resumed:
        keep_newest(folder.checkpoints, resumed, kept)
    local = on_loopback()
    environment = {**({} if uses_gpu(recipe) else KEEP_MEMORY), **(loopback_variables() if local else {})}
    config = {
        "recipe": recipe,
        "plan": plan,
        "source": source,
        "folder": str(folder.path),
        "initial": str(initial),
        "resumed": resumed,
        "statistics": statistics,
    }
    # In the function, and not as its `train_loop_config`, which Ray Train's controller would read, importing torch and timm for it.
    work = partial(_worker, config)
    trainer = TorchTrainer(
        work,
        torch_config=FileRendezvous() if local else None,  # type: ignore[arg-type]  # it has what is read of a `TorchConfig`
        scaling_config=ScalingConfig(
            num_workers=_workers(recipe),  # type: ignore[arg-type]  # typed as Ray Train's first version
            use_gpu=uses_gpu(recipe),
            resources_per_worker=_resources(recipe),
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # typed as Ray Train's first version
            name=folder.checkpoints.name,
            **_storage(folder.path),
            failure_config=FailureConfig(max_failures=recipe.train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=recipe.train.keep_checkpoints),
            worker_runtime_env={"env_vars": environment} if environment else None,
        ),
    )
    failure = None
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        failure = error
    mistake = ending.read(folder.path) or (failure and _user_error(failure))
    if mistake:
        raise mistake
    if failure:
        raise failure
    last = PurePosixPath(result.checkpoint.path).name if result.checkpoint else resumed
    assert last is not None  # the last step writes one, in this command or in an earlier one
    keep_newest(folder.checkpoints, last, kept)
    return folder.checkpoints / last


def _storage(folder: AnyPath) -> dict[str, Any]:
    """Return the settings of Ray Train that say where checkpoints are kept.

    Ray Train does not understand every part of a URI, such as an endpoint, but hands a filesystem of pyarrow to every
    worker.
    """
    if isinstance(folder, Path):
        return {"storage_path": str(folder)}
    files, path = folder.locate()
    return {"storage_filesystem": files, "storage_path": path}


def _workers(recipe: Recipe) -> int | tuple[int, int]:
    """Return the number of workers, or (fewest, most): Ray Train then follows the room that the cluster has."""
    fewest, most = recipe.train.min_workers, recipe.train.workers
    return most if fewest is None else (fewest, most)


def _resources(recipe: Recipe) -> dict[str, float]:
    return {"CPU": recipe.train.cpus_per_worker, **({"GPU": 1} if uses_gpu(recipe) else {})}


def _user_error(error: BaseException) -> UserError | None:
    """Return the user's mistake that a worker or a read task raised, from inside the errors that Ray wraps around it."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        cause = getattr(current, "cause", None)
        if isinstance(current, UserError):
            # Ray raises a subclass of the task's own exception with its traceback as text; the sentence is in `cause`.
            return (
                cause
                if isinstance(cause, UserError)
                else UserError(str(current).strip().splitlines()[-1].split(": ", 1)[-1])
            )
        waiting += [e for e in (current.__cause__, current.__context__, cause) if e is not None]
        waiting += list(getattr(current, "worker_failures", {}).values())
    return None


def _worker(config: dict[str, Any]) -> None:
    """Run one training worker; do nothing if an earlier worker has found a mistake that only the user can mend."""
    folder = RunFolder(config["folder"])
    if ending.read(folder.path):
        return
    try:
        _train(config, folder)
    except Exception as error:
        mistake = _user_error(error)
        if mistake:
            ending.write(folder.path, mistake)
        raise


def _train(config: dict[str, Any], folder: RunFolder) -> None:
    recipe: Recipe = config["recipe"]
    plan: Plan = config["plan"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(recipe.train.cpus_per_worker)))
    torch.manual_seed(recipe.seed + rank)
    encoder = make_encoder(recipe, config["source"]).to(device)
    optimizer = make_optimizer(encoder, recipe)
    first_step, share = 0, 0.0
    with _last_checkpoint(folder, config["resumed"]) as saved:
        if saved is None:
            encoder.load_state_dict(read_state(as_path(config["initial"])))
        else:
            state = checkpoint.load(saved, encoder, optimizer, rank=rank, digest=recipe.digest())
            first_step, share = state.step, state.share
    metrics_writer = metrics_file.MetricsWriter(folder.metrics, first_step) if rank == 0 else None
    watch = Watch(folder.path, plan, recipe.stream, first_step=first_step, device=device)

    def on_log(step: int, metrics: Metrics) -> None:
        if metrics_writer is not None:
            metrics_writer.append(step, metrics)

    def bad_patches() -> tuple[int, bool]:
        bad, mistake = watch.gather(), watch.excess()
        if mistake and rank == 0:
            ending.write(folder.path, mistake)
        return bad, mistake is not None

    def on_checkpoint(step: int, metrics: Metrics) -> None:
        watch.save()
        clock.save(folder.path, rank)
        if metrics_writer is not None:
            metrics_writer.flush()
        with tempfile.TemporaryDirectory() as temporary:
            checkpoint.save_rng(Path(temporary), rank)
            if rank == 0:
                statistics = config["statistics"]
                pixels = statistics.to_json() if statistics else None
                state = checkpoint.State(step, plan.geometry.steps, recipe.digest(), world_size, pixels, loop.share)
                checkpoint.save(Path(temporary), encoder, optimizer, state)
            name = checkpoint_name(step)
            ray.train.report({"step": step, **metrics}, Checkpoint.from_directory(temporary), checkpoint_dir_name=name)

    clock = Clock(device, on=recipe.train.profile)
    model = ray.train.torch.prepare_model(encoder)
    loop = Loop(
        model=model,
        optimizer=optimizer,
        objective=make_objective(recipe.loss, plan.pure),
        recipe=recipe,
        geometry=plan.geometry,
        device=device,
        precision=_precision(recipe, device),
        on_log=on_log,
        on_checkpoint=on_checkpoint,
        bad_patches=bad_patches,
        clock=clock,
        statistics=config["statistics"],
        share=share,
    )
    # Node ids rather than Ray Train's local world size, which counts nodes with one address as one node.
    nodes = [node.decode() for node in all_gather_bytes(ray.get_runtime_context().get_node_id().encode(), device)]
    readers = readers_for(rank, nodes, cluster_cpus(), recipe.train.cpus_per_worker)
    batches = worker_batches(
        plan,
        config["source"],
        recipe.augment,
        rank=rank,
        world_size=world_size,
        first_step=first_step,
        readers=readers,
        stream=recipe.stream,
    )
    with clock.watching(model):
        loop.run(watch.over(batches), first_step)
    clock.save(folder.path, rank)
    if metrics_writer is not None:
        metrics_writer.flush()


@contextlib.contextmanager
def _last_checkpoint(folder: RunFolder, resumed: str | None) -> Iterator[Path | None]:
    """Yield the checkpoint to go on from as a local folder: the last one of this command, else the one that it began with.

    Raises:
        RunFolderError, WeightsError: the checkpoint has been damaged since.
    """
    last = ray.train.get_checkpoint()
    if last is not None:
        with last.as_directory() as saved:
            checkpoint.check(Path(saved))
            yield Path(saved)
    elif resumed is not None:
        with local_folder(folder.checkpoints / resumed) as saved:
            yield saved
    else:
        yield None


def _precision(recipe: Recipe, device: torch.device) -> str:
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16" if device.type == "cuda" else "fp32"
