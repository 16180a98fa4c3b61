"""A checkpoint: a folder that loads without pickle.

model.safetensors (backbone and head), trainer.pt (optimizer; `weights_only=True`), rng-<rank>.pt (torch's generators
of each worker), state.json (step, schedule position, recipe digest). Each file holds its checksum (`wsc_ray.checksums`).
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
    """Where a run stands. The schedule is a function of `step`, so that the step is all it needs.

    `share` is the similarity half's in the next step, where its weight follows the contrastive half: see `wsc_ray.pretrain.rise`.
    """

    step: int  # steps done
    steps_per_epoch: int
    recipe_digest: str
    world_size: int
    pixels: dict[str, list[float]] | None = (
        None  # what pixels are normalised with; None: of features, or ImageNet's, before it was kept
    )
    share: float = 0.0


def save(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write the part of a checkpoint that all workers share; one worker does."""
    save_state(encoder, folder / WEIGHTS)
    _save(optimizer.state_dict(), folder / TRAINER)
    write_json(folder / STATE, asdict(state))


def save_rng(folder: Path, rank: int) -> None:
    """Write a worker's own part: its random generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    _save(states, folder / f"rng-{rank}.pt")


def load_state(folder: AnyPath) -> State:
    """Where the run of a checkpoint stands.

    Raises:
        RunFolderError: the checkpoint does not say it, or it is damaged.
    """
    try:
        state = State(**read_json(folder / STATE))
        numbers = (state.step, state.steps_per_epoch, state.world_size)
        if (
            any(type(number) is not int or number < 0 for number in numbers)
            or not isinstance(state.recipe_digest, str)
            or not 0 <= state.share <= 1
        ):
            raise ValueError("it does not say where the run stands")
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"{folder} is not a checkpoint of wsc-ray: no readable {STATE}: {first_line(error)}"
        ) from None
    return state


def check(folder: Path) -> None:
    """Read every file of a checkpoint.

    Raises:
        RunFolderError, WeightsError: one is missing, cut or damaged.
    """
    state = load_state(folder)
    read_state(folder)
    for name in (TRAINER, *(f"rng-{rank}.pt" for rank in range(state.world_size))):
        _load(folder / name)


def load(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, *, rank: int, digest: str) -> State:
    """Put everything back as it was, and return where the run stands.

    The generators are put back where the number of workers is the same; another number has no states to go on with.

    Raises:
        RunFolderError: a checkpoint of another recipe, or a damaged one.
        WeightsError: its weights are damaged, or of another encoder.
    """
    state = load_state(folder)
    if state.recipe_digest != digest:
        raise RunFolderError(f"{folder} is of another recipe; `--from {folder}` starts a new run from its weights")
    try:
        encoder.load_state_dict(read_state(folder))
    except RuntimeError as error:
        raise WeightsError(f"{folder / WEIGHTS} is of another encoder: {str(error).splitlines()[-1].strip()}") from None
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
    """
    Raises:
        RunFolderError: it is missing or damaged.
    """
    try:
        checksums.check(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    # What torch raises for a file of another kind depends on where it first notices.
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
