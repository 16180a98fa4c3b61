import pytest
import torch

from wsc_ray.losses import similarity_loss

from .cases import expected, unit_views, value_and_gradient


def test_identical_views_cost_nothing_and_opposite_ones_the_most():
    z = torch.tensor([[1.0, 0.0]] * 5)
    assert similarity_loss(z).item() == pytest.approx(0, abs=1e-5)
    assert similarity_loss(torch.stack((z[0], -z[0]))).item() == pytest.approx(2 / 0.07)


def test_rows_and_views_are_the_same():
    views = unit_views(5)
    labels = torch.tensor([0, 0, 1, 2, 1])
    assert similarity_loss(views) == similarity_loss(views.flatten(0, 1))
    torch.testing.assert_close(
        similarity_loss(views, labels=labels),
        similarity_loss(views.flatten(0, 1), labels=labels.repeat_interleave(2)),
    )


def test_one_label_is_no_label():
    views = unit_views(5)
    torch.testing.assert_close(similarity_loss(views, labels=torch.full((5,), 3)), similarity_loss(views))


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_views_have_loss_and_gradient_zero(rows: int):
    value, grad = value_and_gradient(similarity_loss, torch.ones(rows, 4))
    assert value == 0
    assert (grad == 0).all()
    labels = torch.arange(rows)
    value, grad = value_and_gradient(similarity_loss, torch.ones(rows, 4), labels=labels)
    assert value == 0
    assert (grad == 0).all()


def test_labels_with_one_view_weigh_in_with_loss_zero():
    z = unit_views(3).flatten(0, 1)[:5]
    labels = torch.tensor([7, 7, 7, 7, 1])
    torch.testing.assert_close(similarity_loss(z, labels=labels), similarity_loss(z[:4]) * 4 / 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_exact_though_its_rows_are_not_of_length_one(dtype: torch.dtype):
    views = unit_views(2, d=128, dtype=dtype)
    value, grad = value_and_gradient(similarity_loss, views)
    exact, exact_grad = expected("similarity", views, torch.zeros(2, dtype=torch.int64))
    assert value.dtype == torch.float32
    assert grad.dtype == dtype
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize(
    ("z", "settings"),
    [
        (torch.ones(3), {}),
        (torch.ones(3, 4, dtype=torch.int64), {}),
        (torch.ones(3, 4), {"base_temperature": 0}),
        (torch.ones(3, 4), {"base_temperature": float("nan")}),
        (torch.ones(3, 4), {"labels": torch.zeros(2, dtype=torch.int64)}),
        (torch.ones(3, 4), {"labels": torch.zeros(3)}),
    ],
)
def test_wrong_arguments(z: torch.Tensor, settings: dict):
    with pytest.raises(ValueError, match="must be"):
        similarity_loss(z, **settings)
