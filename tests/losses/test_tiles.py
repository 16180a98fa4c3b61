import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wsc_ray.losses import ntxent_loss
from wsc_ray.losses.tiles import log_sum_exp, log_sum_exp_grad, tiles

from .cases import unit_views


@pytest.mark.parametrize("edge", [1, 3, 4, 100])
@pytest.mark.parametrize(("start", "stop"), [(0, 10), (0, 4), (3, 8), (5, 5), (9, 10)])
def test_tiles_cover_every_pair_once(start: int, stop: int, edge: int):
    seen = torch.zeros(stop - start, 10, dtype=torch.int)
    for tile in tiles(start, stop, 10, edge):
        seen[tile.rows, tile.columns] += 1
        if tile.mirror:
            seen[tile.mirror, slice(tile.rows.start + start, tile.rows.stop + start)] += 1
        on_it = {*range(tile.rows.start + start, tile.rows.stop + start)} & {*range(10)[tile.columns]}
        assert bool(on_it) == tile.diagonal
    assert (seen == 1).all()


@pytest.mark.parametrize("temperature", [0.1, 0.0167, 0.0166, 0.003])  # both sides of the running maximum
@pytest.mark.parametrize("tile", [4, None])
def test_sums_and_their_gradient_for_any_weights(temperature: float, tile: int | None):
    z = unit_views(7).flatten(0, 1).requires_grad_()
    weight = torch.linspace(-1, 2, 14, dtype=torch.float64)
    s = (z @ z.T / temperature).masked_fill(torch.eye(14, dtype=torch.bool), -torch.inf)
    expected = s.logsumexp(1)
    (grad,) = torch.autograd.grad(expected @ weight, z)
    with torch.no_grad():
        for mine in (slice(0, 14), slice(0, 5), slice(4, 11), slice(6, 6)):
            torch.testing.assert_close(log_sum_exp(z, mine, temperature, tile), expected[mine], rtol=1e-12, atol=1e-12)
            ours = log_sum_exp_grad(z, mine, expected, weight, temperature, tile)
            torch.testing.assert_close(ours, grad[mine], rtol=1e-10, atol=1e-10)


def test_long_vectors_neither_overflow_nor_underflow():
    z = (30 * unit_views(4, dtype=torch.float32)).flatten(0, 1)
    s = (z.double() @ z.double().T / 0.1).masked_fill(torch.eye(8, dtype=torch.bool), -torch.inf)
    torch.testing.assert_close(log_sum_exp(z, slice(0, 8), 0.1, 3).double(), s.logsumexp(1), rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation gives back."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_no_matrix_is_larger_than_a_tile_or_the_features():
    views = unit_views(256, d=8, dtype=torch.float32).requires_grad_()
    with Largest() as largest:
        ntxent_loss(views[:, 0], views[:, 1], tile=32).backward()
    assert largest.numel == views.numel() == 4096 < 512**2
