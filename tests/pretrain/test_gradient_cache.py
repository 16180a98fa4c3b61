"""Micro-batches give the gradient of the whole batch."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wsc_ray.losses import ntxent_loss
from wsc_ray.pretrain.gradient_cache import cached_backward

PATCHES, VIEWS, WIDTH = 12, 2, 6


def make(dropout: float = 0.0, norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Linear(WIDTH, 16), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(16, 4)).double()


def pixels() -> torch.Tensor:
    return torch.randn(PATCHES, VIEWS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def run(model: nn.Module, x: torch.Tensor, parts: int | None) -> tuple[list[torch.Tensor], torch.Tensor, list]:
    """The parameters' gradients, the loss, and the features of each call of the encoder."""
    seen = []

    def encode(part: torch.Tensor) -> torch.Tensor:
        z = nn.functional.normalize(model(part.flatten(0, 1)), dim=1).unflatten(0, (-1, VIEWS))
        seen.append(z.detach())
        return z

    def loss(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = z.detach().requires_grad_()
        value = ntxent_loss(leaf[:, 0], leaf[:, 1])
        value.backward()
        return leaf.grad, value.detach()

    if parts is None:
        z = encode(x)
        value = ntxent_loss(z[:, 0], z[:, 1])
        value.backward()
        kept = value.detach()
    else:
        kept = cached_backward(model, encode, x, parts, loss)
    return [p.grad for p in model.parameters()], kept, seen


def test_any_micro_batch_gives_the_gradient_of_one_pass():
    expected, value, _ = run(make(), pixels(), None)
    for parts in (1, 2, 5, 12):
        found, same, seen = run(make(), pixels(), parts)
        assert max(len(part) for part in seen) == -(-PATCHES // parts)
        torch.testing.assert_close(same, value, rtol=1e-12, atol=0)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_each_part_is_encoded_again_as_it_was():
    model = make(dropout=0.5)
    torch.manual_seed(3)
    _, _, seen = run(model, pixels(), 3)
    assert len(seen) == 6
    assert not torch.equal(seen[0], seen[1])
    for first, second in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(first, second)
    after = torch.rand(())
    torch.manual_seed(3)
    with torch.no_grad():
        for part in pixels().tensor_split(3):
            model(part.flatten(0, 1))
    assert torch.rand(()) == after  # the generator goes on as after one pass


def test_running_statistics_move_once():
    model = make(norm=True)
    run(model, pixels(), 3)
    other = make(norm=True)
    with torch.no_grad():
        for part in pixels().split(4):
            other(part.flatten(0, 1))
    torch.testing.assert_close(model[1].running_mean, other[1].running_mean)
    torch.testing.assert_close(model[1].running_var, other[1].running_var)


def on_worker(rank: int, parts: int | None) -> tuple[list[torch.Tensor], int]:
    model = DistributedDataParallel(make())
    reduced = []
    model.register_comm_hook(None, lambda state, bucket: _count(reduced, bucket))
    mine = pixels().chunk(2)[rank]
    gradients, _, _ = run(model, mine, parts)
    return gradients, len(reduced)


def _count(reduced: list, bucket):
    reduced.append(bucket.index())
    buffer = bucket.buffer() / 2
    return torch.distributed.all_reduce(buffer, async_op=True).get_future().then(lambda future: future.value()[0])


def test_workers_synchronise_once_and_get_the_gradient_of_one_process(gang_of):
    expected, _, _ = run(make(), pixels(), None)
    plain, cached = gang_of(2)(on_worker, None), gang_of(2)(on_worker, 3)
    for gradients, reductions in cached:
        assert reductions == plain[0][1] == 1
        torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)
