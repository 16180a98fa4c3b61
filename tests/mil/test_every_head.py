"""What holds for every head of the registry, whatever it is: the contract of `PackedHead`, and that a fit learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import HEADS, PackedHead, Settings, load_head, save_head
from wsc_ray.mil.heads.dtfd import DISTILLATIONS
from wsc_ray.recipe.sections import Tune

from .cohort import make_bags

TUNE = Tune(lr=(1e-2, 1e-2), weight_decay=(1e-4, 1e-4), dropout=(0.2, 0.2), hidden=[8], attention=[6])
LENGTHS = [3, 1, 0, 7, 2, 16, 17, 1]


def variants() -> dict[str, Settings]:
    """Settings of every head: of each choice the first and the last, and every distillation."""
    found = {}
    for name in HEADS.names():
        for end, u in (("low", 0.0), ("high", 0.999)):
            found[f"{name}-{end}"] = HEADS[name].draw(TUNE, np.full(HEADS[name].draws(), u))
    for distill in DISTILLATIONS:
        found[f"dtfd-{distill}"] = dataclasses.replace(found["dtfd-low"], distill=distill)
    return found


VARIANTS = variants()
every = pytest.mark.parametrize("setting", VARIANTS.values(), ids=VARIANTS.keys())


def build(setting: Settings, classes: int = 2, width: int = 5) -> PackedHead:
    torch.manual_seed(1)
    return setting.build(width, classes).double().eval()


def double(bags: Bags) -> Bags:
    return dataclasses.replace(bags, features=bags.features.double())


def gradients(head: PackedHead, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    head.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("classes", [2, 4])
@every
def test_packed_bags_are_as_one_bag_at_a_time(setting: Settings, classes: int) -> None:
    """Logits, attention, losses, and the gradients of both in the weights and in the features."""
    head, bags = build(setting, classes), double(make_bags(LENGTHS, classes=classes))
    head.standardise(bags.features)
    singles = [bags.select([i]) for i in range(len(bags))]
    weights = torch.randn(len(bags), classes, dtype=torch.float64)

    def scalars(some: Bags, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        features = some.features.clone().requires_grad_()
        logits, attention = head(features, some.offsets)
        losses = head.training_losses(features, some.offsets, some.labels)
        return (logits * rows).sum() + losses.sum(), features, logits, attention

    total, features, logits, attention = scalars(bags, weights)
    assert logits.shape == (len(bags), classes)
    packed = gradients(head, total)
    alone = [scalars(each, weights[[i]]) for i, each in enumerate(singles)]
    torch.testing.assert_close(logits, torch.cat([each[2] for each in alone]))
    torch.testing.assert_close(attention, torch.cat([each[3] for each in alone]))
    one_by_one = gradients(head, torch.stack([each[0] for each in alone]).sum())
    assert packed.keys() == one_by_one.keys()
    for name, found in packed.items():
        torch.testing.assert_close(found, one_by_one[name], msg=name)
    torch.testing.assert_close(features.grad, torch.cat([each[1].grad for each in alone]))


@every
def test_attention_sums_to_1_in_each_bag_and_is_nowhere_below_0(setting: Settings) -> None:
    head, bags = build(setting), double(make_bags(LENGTHS))
    _, attention = head(bags.features, bags.offsets)
    assert attention.shape == (len(bags.features),)
    assert attention.min() >= 0
    sums = torch.stack([part.sum() for part in attention.split(LENGTHS)])
    torch.testing.assert_close(sums, torch.tensor(LENGTHS).clamp(max=1).double())


@every
def test_bags_of_one_and_of_fifty_thousand_instances_go_together(setting: Settings) -> None:
    torch.manual_seed(1)
    head, bags = setting.build(5, 2).eval(), make_bags([1, 50_000, 1])
    losses = head.training_losses(bags.features, bags.offsets, bags.labels)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)
    with torch.inference_mode():
        logits, attention = head(bags.features, bags.offsets)
        torch.testing.assert_close(head(bags.features[:1], torch.tensor([0, 1]))[0][0], logits[0])
    sums = torch.stack([part.sum() for part in attention.double().split([1, 50_000, 1])])
    torch.testing.assert_close(sums, torch.ones(3).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[2, 0, 3], [0, 4], [4, 0], [0, 0]])
@every
def test_empty_bags_give_no_nan(setting: Settings, lengths: list[int]) -> None:
    head, bags = build(setting, classes=4), double(make_bags(lengths))
    logits, attention = head(bags.features, bags.offsets)
    losses = head.training_losses(bags.features, bags.offsets, bags.labels)
    assert (logits.shape, attention.shape, losses.shape) == ((len(lengths), 4), (sum(lengths),), (len(lengths),))
    assert logits.isfinite().all()
    assert attention.isfinite().all()
    assert losses.isfinite().all()
    found = gradients(head, losses.sum())
    assert all(gradient.isfinite().all() for gradient in found.values())


@every
def test_a_saved_head_is_the_same_head(setting: Settings, tmp_path: Path) -> None:
    bags = make_bags(LENGTHS, classes=4)
    head = build(setting, classes=4).float()
    head.standardise(bags.features)
    save_head(tmp_path / "head", head, setting, ["a", "b", "c", "d"], {"note": 1})
    back, config = load_head(tmp_path / "head")
    assert (type(back), back.training) == (type(head), False)
    assert config["head"] == setting.name
    for found, expected in zip(back(bags.features, bags.offsets), head(bags.features, bags.offsets), strict=True):
        assert torch.equal(found, expected)


def planted(count: int, *, seed: int) -> Bags:
    """Bags of 6, of which the odd are positive and hold two instances that lie apart."""
    bags = make_bags([6] * count, seed=seed)
    features = bags.features.clone()
    features.view(count, 6, 5)[1::2, :2] += torch.tensor([4.0, -4.0, 0, 0, 0])
    return dataclasses.replace(bags, features=features)


def fit(train: Bags, val: Bags, setting: Settings, **options):
    arguments = {"classes": 2, "epochs": 20, "patience": 20, "bags_per_step": 4, "seed": 3}
    return fit_head(train, val, setting, **{**arguments, **options})


@every
def test_a_fit_learns_what_tells_the_slides_apart(setting: Settings) -> None:
    found = fit(planted(24, seed=1), planted(20, seed=2), setting)
    assert found.scores["auroc"] > 0.95
    assert found.history[-1]["train_loss"] < found.history[0]["train_loss"]


@every
def test_the_same_fit_gives_the_same_head_and_another_seed_another(setting: Settings) -> None:
    sides = planted(12, seed=1), planted(8, seed=2)
    first = fit(*sides, setting, epochs=2)
    torch.manual_seed(8)
    assert fit(*sides, setting, epochs=2).history == first.history
    assert fit(*sides, setting, epochs=2, seed=4).history != first.history


@every
def test_a_fit_that_diverges_has_finite_scores(setting: Settings) -> None:
    found = fit(planted(12, seed=1), planted(8, seed=2), dataclasses.replace(setting, lr=1e30), epochs=4)
    assert all(np.isfinite(value) for value in found.scores.values())


@pytest.mark.parametrize("name", ["abmil", "instance-mean", "max", "mean", "mean-mlp", "transmil"])
def test_a_head_without_a_loss_of_its_own_has_cross_entropy(name: str) -> None:
    """To the bit: what a head was fitted to before heads could have losses of their own."""
    head, bags = build(VARIANTS[f"{name}-low"]), double(make_bags(LENGTHS))
    logits, _ = head(bags.features, bags.offsets)
    expected = nn.functional.cross_entropy(logits, bags.labels, reduction="none")
    assert torch.equal(head.training_losses(bags.features, bags.offsets, bags.labels), expected)
