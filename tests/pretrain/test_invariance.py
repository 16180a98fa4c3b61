"""Training ends with the same weights for any number of workers, with and without micro-batches."""

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from wsc_ray.encoders import build_encoder
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import Geometry, worker_shards

STEPS, BATCH, SIZE, SHARDS = 20, 16, 32, 4
GEOMETRY = Geometry(seed=0, sampling="epoch", batch_size=BATCH, shards=SHARDS, steps=STEPS, window=STEPS)


def recipe(backbone: str, **changes):
    settings = {
        "encoder": {"backbone": backbone, "weights": "random", "head_hidden": 16, "head_dim": 8, "norm": "sync"},
        "loss": {"similarity_weight": 0.1, "similarity_warmup": 0},  # `test_rise.py` has a weight that follows
        "augment": {"size": SIZE},
        "stream": {"shards": SHARDS},
        "train": {"epochs": 1, "steps_per_epoch": STEPS, "batch_size": BATCH, "warmup_epochs": 0, "lr": 0.02},
    }
    for section, values in changes.items():
        settings[section] |= values
    return validate_recipe(settings)


def batches(rank: int, workers: int):
    """The worker's part of the global batches: pure patches, then mixed ones, as the stream gives them."""
    for step in range(STEPS):
        rng = np.random.default_rng(step)
        # Pure and mixed. Every pixel its own: equal ones would let rounding decide which of them a pooling takes.
        coarse = rng.integers(0, 200, (2, BATCH // 2, 2, 4, 4, 3), dtype=np.uint8)
        views = coarse.repeat(SIZE // 4, axis=3).repeat(SIZE // 4, axis=4)
        views = views + rng.integers(0, 56, views.shape, dtype=np.uint8)
        shards = worker_shards(SHARDS, rank, workers)
        first, end = (GEOMETRY.first_position(step, shard) for shard in (shards.start, shards.stop))
        mine = views[:, first:end].reshape(-1, 2, SIZE, SIZE, 3)
        label = np.repeat([0, 1], end - first)
        yield {"views": mine, "label": label, "step": np.full(len(label), step)}


class InDouble(torch.nn.Module):
    """Takes rounding out of the comparison: what is left is only what the number of workers does."""

    def __init__(self, encoder: torch.nn.Module):
        super().__init__()
        self.encoder = encoder.double()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encoder(pixels.double())


def on_worker(rank: int, workers: int, recipe, double: bool = True) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = recipe.encoder
    encoder = build_encoder(config.backbone, size=SIZE, head_hidden=16, head_dim=8, norm=config.norm)
    model = InDouble(encoder) if double else encoder
    loop = Loop(
        model=model if workers == 1 else DistributedDataParallel(model),
        optimizer=make_optimizer(encoder, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=GEOMETRY,
        device=torch.device("cpu"),
        precision="fp32",
        on_log=lambda step, metrics: None,
        on_checkpoint=lambda step, metrics: None,
    )
    assert loop.run(batches(rank, workers), 0) == STEPS
    return {name: value.clone() for name, value in encoder.state_dict().items() if value.is_floating_point()}


def apart(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest relative distance of any tensor of the state."""
    return max(((found[n] - expected[n]).norm() / expected[n].norm().clamp(min=1e-8)).item() for n in expected)


def apart_as_a_whole(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The relative distance of all numbers of the state as one vector."""
    one, other = (torch.cat([state[n].flatten() for n in expected]) for state in (found, expected))
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_any_number_of_workers_ends_with_the_same_weights(gang_of, backbone):
    """Three of them share four shards unevenly."""
    (expected,) = gang_of(1)(on_worker, 1, recipe(backbone))
    slow = recipe(backbone, train={"lr": 0.002})  # so that steps do not magnify float32's rounding
    (rounded,) = gang_of(1)(on_worker, 1, slow, False)
    for workers in (2, 3, 4):
        for found in gang_of(workers)(on_worker, workers, recipe(backbone)):
            assert apart(found, expected) < 1e-8
        for found in gang_of(workers)(on_worker, workers, slow, False):
            assert apart_as_a_whole(found, rounded) < 1e-4


def test_without_sync_batch_norm_depends_on_the_workers(gang_of):
    """The test above can fail: each worker's own statistics lead elsewhere."""
    own = recipe("test_resnet", encoder={"norm": "batch"})
    (expected,) = gang_of(1)(on_worker, 1, own)
    assert apart_as_a_whole(gang_of(2)(on_worker, 2, own)[0], expected) > 1e-2


@pytest.mark.parametrize(("backbone", "norm"), [("test_vit", "batch"), ("test_resnet", "group")])
def test_micro_batches_end_with_the_same_weights(gang_of, backbone, norm):
    plain = recipe(backbone, encoder={"norm": norm})
    cached = recipe(backbone, encoder={"norm": norm}, train={"micro_batch": 3})
    (expected,) = gang_of(1)(on_worker, 1, plain)
    for workers in (1, 2, 3):
        for found in gang_of(workers)(on_worker, workers, cached):
            assert apart(found, expected) < 1e-8


def test_micro_batches_that_exchange_something_are_as_many_on_every_worker(gang_of):
    """With synchronised BatchNorm an uneven share would otherwise wait for a micro-batch that others do not have."""
    uneven = recipe("test_resnet", train={"micro_batch": 5})  # shares of 4, 4 and 8 patches
    first, *others = gang_of(3)(on_worker, 3, uneven)
    for found in others:
        assert apart(found, first) < 1e-8
