"""Dropout that is drawn faster on a CPU does what torch's does."""

import pytest
import torch

from wsc_ray.mil.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_zeroes_a_share_and_scales_the_rest(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(1000, 100, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    assert y.dtype == dtype
    kept = y != 0
    assert float((~kept).double().mean()) == pytest.approx(p, abs=0.01)
    assert torch.equal(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    assert abs(float(kept.double().mean(0).std()) - (p * (1 - p) / 1000) ** 0.5) < 0.005  # no column is favoured
    y.sum().backward()
    assert torch.equal(x.grad, y)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_its_ends_are_torchs(p):
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(p)(x), torch.nn.Dropout(p)(x))


def test_outside_training_it_does_nothing():
    x = torch.randn(4, 5)
    assert Dropout(0.5).eval()(x) is x


def test_it_follows_torchs_seed():
    x, layer = torch.ones(50, 50), Dropout(0.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(layer(x))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
