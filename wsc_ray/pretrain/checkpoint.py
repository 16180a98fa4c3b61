"""A checkpoint: a folder that loads without pickle.

model.safetensors (backbone and head), trainer.pt (optimizer; `weights_only=True`), rng-<rank>.pt (torch's generators
of each worker), state.json (step, schedule position, recipe digest).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.weights import WEIGHTS, read_state, save_state
from wsc_ray.errors import RunFolderError

TRAINER, STATE = "trainer.pt", "state.json"


@dataclass(frozen=True)
class State:
    """Where a run stands. The schedule is a function of `step`, so that the step is all it needs."""

    step: int  # steps done
    steps_per_epoch: int
    recipe_digest: str
    world_size: int
    pixels: dict[str, list[float]] | None = (
        None  # what pixels are normalised with; None: of features, or ImageNet's, before it was kept
    )


def save(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write the part of a checkpoint that all workers share; one worker does."""
    save_state(encoder, folder / WEIGHTS)
    torch.save(optimizer.state_dict(), folder / TRAINER)
    (folder / STATE).write_text(json.dumps(asdict(state), indent=2) + "\n")


def save_rng(folder: Path, rank: int) -> None:
    """Write a worker's own part: its random generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    torch.save(states, folder / f"rng-{rank}.pt")


def load_state(folder: Path) -> State:
    try:
        return State(**json.loads((folder / STATE).read_text()))
    except (OSError, ValueError, TypeError):
        raise RunFolderError(f"{folder} is not a checkpoint of wsc-ray: no readable {STATE}") from None


def load(folder: Path, encoder: PatchEncoder, optimizer: torch.optim.Optimizer, *, rank: int, digest: str) -> State:
    """Put everything back as it was, and return where the run stands.

    The generators are put back where the number of workers is the same; another number has no states to go on with.

    Raises:
        RunFolderError: a checkpoint of another recipe.
    """
    state = load_state(folder)
    if state.recipe_digest != digest:
        raise RunFolderError(f"{folder} is of another recipe; `--from {folder}` starts a new run from its weights")
    encoder.load_state_dict(read_state(folder))
    optimizer.load_state_dict(torch.load(folder / TRAINER, weights_only=True, map_location="cpu"))
    own = folder / f"rng-{rank}.pt"
    if own.exists():
        states = torch.load(own, weights_only=True, map_location="cpu")
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"])
    return state
