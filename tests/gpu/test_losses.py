"""The losses on the device against the formulas in float64 on the CPU."""

import pytest
import torch

from tests.losses.cases import LOSSES, expected, unit_views, value_and_gradient


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("patches", [1, 2, 33, 300])
def test_the_oracle_in_float32(device, name, patches):
    views, labels = unit_views(patches, 16, seed=patches), torch.arange(patches) % 3
    value, grad = expected(name, views, labels)
    found, gradient = value_and_gradient(LOSSES[name], views.float().to(device), labels.to(device))
    torch.testing.assert_close(found.double().cpu(), value, rtol=1e-5, atol=1e-5)
    scale = max(float(grad.norm()), 0.1)  # where it is 0, what is left is rounding of 1 / t0
    assert float((gradient.double().cpu() - grad).norm()) / scale < 1e-4


@pytest.mark.parametrize("name", LOSSES)
def test_features_in_bfloat16_are_summed_in_float32(device, name):
    """Under autocast with bfloat16 features: as good as the float64 formula of those rounded features."""
    views, labels = unit_views(200, 16, seed=5).to(torch.bfloat16), torch.arange(200) % 3
    value, _ = expected(name, views.double(), labels)
    with torch.autocast(device.type, torch.bfloat16):
        found, gradient = value_and_gradient(LOSSES[name], views.to(device), labels.to(device))
    assert found.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(found.double().cpu(), value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tile", [None, 64])
def test_tiles_change_nothing(device, tile):
    views = unit_views(257, 16, seed=1)
    value, grad = expected("ntxent", views, torch.zeros(257, dtype=torch.int64))
    found, gradient = value_and_gradient(
        LOSSES["ntxent"], views.float().to(device), torch.zeros(257, dtype=torch.int64, device=device), tile=tile
    )
    torch.testing.assert_close(found.double().cpu(), value, rtol=1e-5, atol=1e-5)
    assert float((gradient.double().cpu() - grad).norm() / grad.norm()) < 1e-4
