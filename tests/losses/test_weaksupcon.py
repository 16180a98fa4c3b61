import pytest
import torch

from wsc_ray.losses import WeakSupConLoss, ntxent_loss, similarity_loss

from .cases import unit_views, value_and_gradient


def test_terms_are_the_two_losses():
    views, labels = unit_views(7), torch.tensor([0, 1, 0, 2, 1, 0, 5])
    terms = WeakSupConLoss(similarity_weight=0.5)(views, labels)
    mixed = views[labels != 0]
    torch.testing.assert_close(terms.similarity, similarity_loss(views[labels == 0]))
    torch.testing.assert_close(terms.contrastive, ntxent_loss(mixed[:, 0], mixed[:, 1]))
    torch.testing.assert_close(terms.total, 0.5 * terms.similarity + terms.contrastive)


def test_the_weight_of_one_call():
    views, labels = unit_views(6), torch.tensor([0, 1, 0, 1, 1, 0])
    loss = WeakSupConLoss(similarity_weight=0.5)
    cold, warm, again = loss(views, labels, 0.0), loss(views, labels, similarity_weight=2.0), loss(views, labels)
    assert cold.total == cold.contrastive
    torch.testing.assert_close(warm.total, 2 * warm.similarity + warm.contrastive)
    torch.testing.assert_close(again.total, 0.5 * again.similarity + again.contrastive)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 2, 1], [0, 1, 0], [1, 0, 1], []])
@pytest.mark.parametrize("pure", [(0,), (0, 3), ()])
def test_absent_and_single_patches(labels: list[int], pure: tuple[int, ...]):
    labels = torch.tensor(labels, dtype=torch.int64)
    views = unit_views(len(labels)).requires_grad_()
    terms = WeakSupConLoss(pure=pure)(views, labels)
    is_pure = torch.isin(labels, torch.tensor(pure, dtype=torch.int64))
    if not is_pure.any():
        assert terms.similarity == 0
    if is_pure.all():
        assert terms.contrastive == 0
    for term in terms:  # each stays part of the graph, or DDP would wait for gradients that never come
        (grad,) = torch.autograd.grad(term, views, retain_graph=True)
        assert grad.shape == views.shape
        assert grad.isfinite().all()


def test_labels_of_any_integer_dtype():
    views, labels = unit_views(4), torch.tensor([0, 1, 0, 1])
    values = {
        WeakSupConLoss()(views, labels.to(dtype)).total.item() for dtype in (torch.int64, torch.int32, torch.uint8)
    }
    assert len(values) == 1


def test_autocast_changes_nothing_and_bf16_has_no_nan():
    views, labels = unit_views(8, dtype=torch.bfloat16), torch.arange(8) % 2
    loss = WeakSupConLoss(temperature=0.01)
    value, grad = value_and_gradient(lambda v: loss(v, labels).total, views)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(views, labels).total == value


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"base_temperature": -1},
        {"tile": 0},
        {"similarity_weight": -1},
        {"similarity_weight": float("nan")},
        {"pure": (0, 0)},
        {"pure": (0.5,)},
    ],
)
def test_wrong_settings(settings: dict):
    with pytest.raises(ValueError, match="must be"):
        WeakSupConLoss(**settings)


@pytest.mark.parametrize(
    ("views", "labels"),
    [
        (torch.ones(4, 8), torch.zeros(4, dtype=torch.int64)),
        (torch.ones(4, 3, 8), torch.zeros(4, dtype=torch.int64)),
        (torch.ones(4, 2, 8), torch.zeros(3, dtype=torch.int64)),
        (torch.ones(4, 2, 8), torch.zeros(4)),
        (torch.ones(4, 2, 8, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_wrong_inputs(views: torch.Tensor, labels: torch.Tensor):
    with pytest.raises(ValueError, match="must be"):
        WeakSupConLoss()(views, labels)
