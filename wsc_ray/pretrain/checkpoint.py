"""Write, check and load checkpoints: folders that load without pickle.

A checkpoint holds model.safetensors (backbone and head), trainer.pt (optimizer; `weights_only=True`), rng-<rank>.pt
(torch's random generators of each worker) and state.json (step, schedule position, recipe digest). Each file holds its
checksum (`wsc_ray.checksums`).
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wsc_ray import checksums
from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.weights import WEIGHTS, read_state, save_state
from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import first_line, read_json, write_json
from wsc_ray.storage import AnyPath

TRAINER, STATE = "trainer.pt", "state.json"


@dataclass(frozen=True)
class State:
    """How far a run has come. The schedule is a function of `step` and needs no state of its own.

    Attributes:
        step: number of steps done.
        pixels: mean and standard deviation that pixels are normalised with; None for features, and in checkpoints from
            before this was kept, when all pixels were normalised with ImageNet's.
        share: share of its weight that the similarity half has in the next step, if the weight follows the contrastive half: see
            `wsc_ray.pretrain.rise`.
    """

    step: int
    steps_per_epoch: int
    recipe_digest: str
    world_size: int
    pixels: dict[str, list[float]] | None = None
    share: float = 0.0


def save(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write the part of a checkpoint that all workers share; one worker calls this."""
    save_state(encoder, folder / WEIGHTS)
    _save(optimizer.state_dict(), folder / TRAINER)
    write_json(folder / STATE, asdict(state))


def save_rng(folder: Path, rank: int) -> None:
    """Write a worker's own part of a checkpoint: the states of its random generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    _save(states, folder / f"rng-{rank}.pt")


def load_state(folder: AnyPath) -> State:
    """Return the state of a checkpoint.

    Raises:
        RunFolderError: the file of the state is missing, damaged or incomplete.
    """
    try:
        state = State(**read_json(folder / STATE))
        numbers = (state.step, state.steps_per_epoch, state.world_size)
        if (
            any(type(number) is not int or number < 0 for number in numbers)
            or not isinstance(state.recipe_digest, str)
            or not 0 <= state.share <= 1
        ):
            raise ValueError("it does not hold the state of a run")
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"{folder} is not a checkpoint of wsc-ray: no readable {STATE}: {first_line(error)}"
        ) from None
    return state


def check(folder: Path) -> None:
    """Check that every file of a checkpoint can be read.

    Raises:
        RunFolderError, WeightsError: a file is missing, cut or damaged.
    """
    state = load_state(folder)
    read_state(folder)
    for name in (TRAINER, *(f"rng-{rank}.pt" for rank in range(state.world_size))):
        _load(folder / name)


def load(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, *, rank: int, digest: str) -> State:
    """Load a checkpoint into the encoder, the optimizer and the random generators, and return its state.

    A worker whose rank the run did not have before finds no generator states and keeps its own.

    Raises:
        RunFolderError: the checkpoint is damaged or belongs to another recipe.
        WeightsError: its weights are damaged or belong to another encoder.
    """
    state = load_state(folder)
    if state.recipe_digest != digest:
        raise RunFolderError(f"{folder} belongs to another recipe; `--from {folder}` starts a new run from its weights")
    try:
        encoder.load_state_dict(read_state(folder))
    except RuntimeError as error:
        raise WeightsError(
            f"{folder / WEIGHTS} belongs to another encoder: {str(error).splitlines()[-1].strip()}"
        ) from None
    try:
        optimizer.load_state_dict(_load(folder / TRAINER))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(f"{folder / TRAINER} is not this optimizer's state: {first_line(error)}") from None
    own = folder / f"rng-{rank}.pt"
    if own.exists():
        states = _load(own)
        try:
            torch.set_rng_state(states["cpu"])
            if "cuda" in states and torch.cuda.is_available():
                torch.cuda.set_rng_state(states["cuda"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise RunFolderError(f"{own} holds no state of torch's generators: {first_line(error)}") from None
    return state


def _save(values: Any, path: Path) -> None:
    torch.save(values, path)
    checksums.seal(path)


def _load(path: Path) -> Any:
    """Return the contents of a file that `_save` wrote.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        checksums.check(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    # Which error torch raises for a file of another kind depends on where its reading fails.
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        IndexError,
        MemoryError,
        pickle.UnpicklingError,
    ) as error:
        raise RunFolderError(f"{path} cannot be read: {first_line(error)}") from None
