"""Every loss against its formula on batches that hypothesis makes up, in one process."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from .cases import LOSSES, expected, unit_views, value_and_gradient


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit views (n, 2, d) from few directions, so that many are the same or opposite, under few labels."""
    n, d = draw(st.integers(0, 9)), draw(st.integers(1, 5))
    directions = unit_views(3, d, seed=draw(st.integers(0, 99))).flatten(0, 1)
    pick = draw(st.lists(st.integers(0, len(directions) - 1), min_size=2 * n, max_size=2 * n))
    sign = draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=2 * n, max_size=2 * n))
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    rows = directions[torch.tensor(pick, dtype=torch.int64)] * torch.tensor(sign, dtype=torch.float64).unsqueeze(1)
    return rows.view(n, 2, d), torch.tensor(labels, dtype=torch.int64)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60)
@given(batch=batches(), temperature=st.floats(0.01, 2), tile=st.sampled_from([1, 2, 5, 7, None]))
def test_value_and_gradient(name: str, batch: tuple[torch.Tensor, torch.Tensor], temperature: float, tile: int | None):
    views, labels = batch
    ours = value_and_gradient(LOSSES[name], views, labels, temperature=temperature, tile=tile)
    torch.testing.assert_close(ours, expected(name, views, labels, temperature), rtol=1e-10, atol=1e-10)

    views = views.float()
    value, grad = value_and_gradient(LOSSES[name], views, labels, temperature=temperature, tile=tile)
    exact, exact_grad = expected(name, views, labels, temperature)
    assert value.dtype == grad.dtype == torch.float32
    np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-5)
    # s = z . z / t is rounded by up to 2^-24 / t on each of two ways into a share, and a gradient is 1 / t0 times shares.
    rounding = 2 * 2**-24 / (temperature * 0.07) if temperature < 0.1 else 0
    np.testing.assert_allclose(grad, exact_grad, rtol=1e-4, atol=max(1e-5, rounding))
