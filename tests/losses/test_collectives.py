"""Value, gradient and training are the same for any number of workers; the bytes that workers send."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.gang import Gang
from wsc_ray.distributed import all_gather_bytes, rank_and_world_size
from wsc_ray.losses import WeakSupConLoss, similarity_loss

from .cases import LOSSES, expected, on_my_shards, unit_views

LABELS = {
    "one pure label": [0] * 12,
    "one mixed label": [1] * 12,
    "sorted, so that workers lack a class": [0] * 6 + [1] * 6,
    "several": [0, 3, 1, 2, 0, 2, 1, 1, 2, 0, 3, 0],
    "a single mixed patch": [0] * 5 + [1] + [0] * 6,
    "a single pure patch": [1] * 5 + [0] + [1] * 6,
}


def splits(workers: int) -> dict[str, list[int]]:
    """Ways to deal 12 patches to workers."""
    if workers == 1:
        return {"even": [12]}
    return {
        "even": [12 // workers] * workers,
        "uneven": [12 - sum(range(1, workers)), *range(1, workers)],
        "all on the last": [0] * (workers - 1) + [12],
        "some without": {2: [12, 0], 3: [5, 0, 7], 4: [3, 0, 0, 9]}[workers],
    }


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", LOSSES)
def test_every_split_is_one_process(gang: Gang, name: str, labels: str):
    y = np.array(LABELS[labels])
    tiled = not name.startswith("similarity")
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        views = unit_views(12, dtype=dtype)
        value, grad = expected(name, views, torch.from_numpy(y))
        tiles = (5, 8) if tiled and dtype == torch.float64 else (None,)
        cases = [(sizes, {"tile": tile}) for sizes in splits(gang.size).values() for tile in tiles]
        of_workers = gang(on_my_shards, name, views.numpy(), y, cases)
        for case, results in zip(cases, zip(*of_workers, strict=True), strict=True):
            values, grads = zip(*results, strict=True)
            close = {"rtol": tolerance, "atol": tolerance, "err_msg": f"{case}, {dtype}"}
            assert len(set(values)) == 1, "workers disagree"
            np.testing.assert_allclose(values[0], value, **close)
            np.testing.assert_allclose(np.concatenate(grads) / gang.size, grad, **close)


@pytest.mark.parametrize("name", LOSSES)
def test_no_patch_anywhere(gang: Gang, name: str):
    empty, none = unit_views(0).numpy(), np.zeros(0, dtype=np.int64)
    for [(value, grad)] in gang(on_my_shards, name, empty, none, [([0] * gang.size, {})]):
        assert value == 0
        assert grad.shape == (0, 2, 6)


@pytest.mark.parametrize("name", LOSSES)
def test_bf16_at_a_low_temperature(gang: Gang, name: str):
    for value, finite in gang(_bf16, name):
        assert np.isfinite(value)
        assert finite


def _bf16(rank: int, name: str) -> tuple[float, bool]:
    views = unit_views(3 + rank, d=32, seed=rank, dtype=torch.bfloat16).requires_grad_()
    value = LOSSES[name](views, torch.arange(3 + rank) % 3, temperature=0.01)
    value.backward()
    return value.item(), bool(views.grad.isfinite().all())


COLLECTIVES = [
    name for name in dir(dist) if name.startswith(("all_", "broadcast", "gather", "reduce", "scatter", "send"))
]


def _wire(rank: int, mixed: list[int], pure: list[int]) -> tuple[list, list]:
    """What a worker hands to collectives in forward and in backward: (dtype, numbers) of each call."""
    sent: list[tuple[str, int]] = []

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            tensor = args[1] if "gather" in name else args[0]
            sent.append((str(tensor.dtype), tensor.numel()))
            return function(*args, **kwargs)

        return call

    originals = {name: getattr(dist, name) for name in COLLECTIVES if callable(getattr(dist, name))}
    views = unit_views(mixed[rank] + pure[rank], d=16, seed=rank, dtype=torch.bfloat16).requires_grad_()
    labels = torch.tensor([1] * mixed[rank] + [0] * pure[rank], dtype=torch.int64)
    try:
        for name, function in originals.items():
            setattr(dist, name, counting(name, function))
        loss = WeakSupConLoss()(views, labels).total
        forward, sent = sent, (backward := [])
        loss.backward()
    finally:
        for name, function in originals.items():
            setattr(dist, name, function)
    return forward, backward


def test_bytes_on_the_wire(gang: Gang):
    """Mixed features once, d + 1 numbers for the similarity, two counts, a number a view; backward nothing."""
    mixed, pure = [5, 3, 0, 4][: gang.size], [1, 0, 6, 2][: gang.size]
    for forward, backward in gang(_wire, mixed, pure):
        assert backward == []
        longest = 2 * max(mixed)  # views, the shorter shards being padded
        expected = [
            ("torch.int64", 2),
            ("torch.bfloat16", longest * 16),
            ("torch.float32", longest),
            ("torch.float32", 16 + 1),
        ]
        assert forward == (expected if gang.size > 1 else [])


def _ddp(rank: int, sizes: list[int], seed: int) -> list[np.ndarray]:
    """Parameter gradients of a small network after DDP has averaged them."""
    torch.manual_seed(0)
    network = nn.parallel.DistributedDataParallel(_Network())
    x, labels = _images(sum(sizes), seed)
    mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    WeakSupConLoss()(network(x[mine]), labels[mine]).total.backward()
    return [parameter.grad.numpy() for parameter in network.parameters()]


class _Network(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 6))
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(super().forward(x), dim=-1)


def _images(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 10, generator=generator, dtype=torch.float64), torch.arange(n) * 2 // n


def test_ddp_gives_the_gradients_of_one_process(gang: Gang):
    torch.manual_seed(0)
    network = _Network()
    x, labels = _images(12, seed=1)
    WeakSupConLoss()(network(x), labels).total.backward()
    for sizes in splits(gang.size).values():
        for grads in gang(_ddp, sizes, 1):
            for ours, parameter in zip(grads, network.parameters(), strict=True):
                np.testing.assert_allclose(ours, parameter.grad, rtol=1e-9, atol=1e-12)


def _alone(rank: int, workers: int) -> tuple[float, bool]:
    """The loss in a group of one's own, and whether the group of somebody else is refused."""
    groups = [dist.new_group([member]) for member in range(workers)]
    value = similarity_loss(unit_views(2, seed=rank), group=groups[rank]).item()
    try:
        rank_and_world_size(groups[(rank + 1) % workers])
    except ValueError:
        return value, True
    return value, False


def test_a_group_of_ones_own_is_a_process_of_ones_own(gang: Gang):
    for rank, (value, refused) in enumerate(gang(_alone, gang.size)):
        assert value == similarity_loss(unit_views(2, seed=rank)).item()
        assert refused == (gang.size > 1)


TEXTS = [b"one", b"", b"\x00\xff, of another length", b"four"]


def _texts(rank: int) -> list[bytes]:
    return all_gather_bytes(TEXTS[rank], torch.device("cpu"))


def _no_texts(rank: int) -> list[bytes]:
    return all_gather_bytes(b"", torch.device("cpu"))


def test_bytes_of_every_worker(gang: Gang):
    assert gang(_texts) == [TEXTS[: gang.size]] * gang.size
    assert gang(_no_texts) == [[b""] * gang.size] * gang.size
