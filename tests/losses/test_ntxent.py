import math

import pytest
import torch
from torch import Tensor

from wsc_ray.losses import ntxent_loss

from .cases import expected, unit_views, value_and_gradient


def ntxent(views: Tensor, **settings) -> Tensor:
    return ntxent_loss(views[:, 0], views[:, 1], **settings)


@pytest.mark.parametrize("temperature", [0.1, 1 / 85, 0.01])  # exp(85) is a float32, but a sum of fifty is not
def test_collapsed_features_cost_the_log_of_the_others(temperature: float):
    views = torch.zeros(64, 2, 8)
    views[..., 0] = 1
    value = ntxent(views, temperature=temperature).item()
    assert value == pytest.approx(temperature / 0.07 * math.log(127), rel=1e-5)


def test_one_patch_costs_nothing():
    value, grad = value_and_gradient(ntxent, unit_views(1))
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert grad.abs().max() < 1e-12


def test_no_patch_costs_nothing_and_keeps_the_graph():
    value, grad = value_and_gradient(ntxent, torch.ones(0, 2, 4))
    assert value == 0
    assert grad.shape == (0, 2, 4)


def test_numerical_gradient():
    views = unit_views(3, d=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: ntxent(v, temperature=0.5, tile=2), views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_precision_of_each_dtype(dtype: torch.dtype, temperature: float):
    """Same and opposite vectors among them: exp(1 / 0.01) is far beyond float32."""
    views = unit_views(16, d=64)
    views[1], views[2], views[3, 1] = views[0], -views[0], -views[3, 0]
    views = views.to(dtype)
    value, grad = value_and_gradient(ntxent, views, temperature=temperature, tile=5)
    exact, exact_grad = expected("ntxent", views, torch.zeros(16, dtype=torch.int64), temperature)
    assert value.dtype == torch.float32
    assert grad.dtype == dtype
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=max(1e-4, 4 * torch.finfo(dtype).eps), atol=1e-5)


def test_autocast_changes_nothing():
    views = unit_views(16, dtype=torch.float32)
    plain = value_and_gradient(ntxent, views)

    views.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ntxent(views)
        value.backward()  # not advised, but it happens
    assert torch.equal(value.detach(), plain[0])
    assert torch.equal(views.grad, plain[1])


def test_nan_shows():
    views = unit_views(4)
    views[2, 1, 0] = torch.nan
    assert ntxent(views).isnan()


@pytest.mark.parametrize(
    ("shapes", "settings"),
    [
        (((3, 4), (2, 4)), {}),
        (((3, 2, 4), (3, 2, 4)), {}),
        (((3, 4), (3, 4)), {"temperature": 0}),
        (((3, 4), (3, 4)), {"temperature": -0.1}),
        (((3, 4), (3, 4)), {"base_temperature": float("inf")}),
        (((3, 4), (3, 4)), {"tile": 0}),
        (((3, 4), (3, 4)), {"tile": 1.5}),
    ],
)
def test_wrong_arguments(shapes: tuple, settings: dict):
    with pytest.raises(ValueError, match="must be"):
        ntxent_loss(*map(torch.ones, shapes), **settings)
