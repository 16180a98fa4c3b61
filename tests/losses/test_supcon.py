import pytest
import torch

from wsc_ray.losses import ntxent_loss, supcon_loss

from . import oracle
from .cases import unit_views, value_and_gradient


def test_one_patch_a_label_is_ntxent():
    views = unit_views(6)
    ours = value_and_gradient(supcon_loss, views, torch.arange(6))
    simclr = value_and_gradient(lambda v: ntxent_loss(v[:, 0], v[:, 1]), views)
    torch.testing.assert_close(ours, simclr)


def test_rows_without_a_positive_are_left_out():
    z = unit_views(4).flatten(0, 1)[:7]
    labels = torch.tensor([4, 4, 9, 1, 1, 1, -3])
    ours = value_and_gradient(supcon_loss, z, labels)
    torch.testing.assert_close(ours, value_and_gradient(oracle.supcon, z, labels), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_no_positive_at_all(rows: int):
    value, grad = value_and_gradient(supcon_loss, unit_views(1)[0, :rows], torch.arange(rows))
    assert value == 0
    assert (grad == 0).all()


def test_half_precision():
    views, labels = unit_views(6, dtype=torch.bfloat16), torch.tensor([0, 1, 0, 2, 1, 0])
    value, grad = value_and_gradient(supcon_loss, views, labels, temperature=0.01)
    exact = oracle.supcon(views.double().flatten(0, 1), labels.repeat_interleave(2), 0.01)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    assert grad.isfinite().all()


@pytest.mark.parametrize(
    ("labels", "settings"),
    [
        (torch.zeros(2, dtype=torch.int64), {}),
        (torch.zeros(3), {}),
        (torch.zeros(3, dtype=torch.int64), {"temperature": 0}),
        (torch.zeros(3, dtype=torch.int64), {"tile": -1}),
    ],
)
def test_wrong_arguments(labels: torch.Tensor, settings: dict):
    with pytest.raises(ValueError, match="must be"):
        supcon_loss(torch.ones(3, 4), labels, **settings)
