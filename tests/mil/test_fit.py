import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from wsc_ray.mil import bags
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import Fit, balanced_loss, fit_head, predict
from wsc_ray.mil.heads.abmil import AttentionSettings as Setting

from .cohort import make_bags

SETTING = Setting(lr=5e-3, weight_decay=1e-4, dropout=0.1, hidden=16, attention=8, gated=True)


def separable(count: int, *, seed: int, positives: float = 0.5, scale: float = 1.0) -> Bags:
    """Bags of which the positive hold one patch that lies apart."""
    bags = make_bags([4 + i % 5 for i in range(count)], seed=seed)
    labels = (torch.arange(count) < count * positives).long()
    features = bags.features.clone()
    features[bags.offsets[:-1][labels == 1]] += torch.tensor([4.0, -4.0, 0, 0, 0])
    return dataclasses.replace(bags, features=features * scale, labels=labels)


def run(train: Bags, val: Bags, setting: Setting = SETTING, **options) -> Fit:
    return fit_head(
        train, val, setting, **{"classes": 2, "epochs": 12, "patience": 12, "bags_per_step": 4, "seed": 3, **options}
    )


@pytest.fixture(scope="module")
def sides() -> tuple[Bags, Bags]:
    return separable(24, seed=1), separable(12, seed=2)


def test_it_learns_what_tells_the_slides_apart(sides) -> None:
    found = run(*sides)
    assert found.scores["auroc"] > 0.95
    assert found.history[-1]["train_loss"] < found.history[0]["train_loss"]


def test_the_same_arguments_give_the_same_head_and_leave_the_callers_random_state(sides) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = run(*sides)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    second = run(*sides)
    assert first.history == second.history
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.head.state_dict().values(), second.head.state_dict().values(), strict=True)
    )
    assert run(*sides, seed=4).history != first.history


def test_it_stops_early_and_returns_the_best_epoch(sides) -> None:
    train, val = sides
    flipped = dataclasses.replace(val, labels=1 - val.labels)  # the better it fits, the worse it validates
    seen: list[dict[str, float]] = []
    found = run(train, flipped, epochs=40, patience=3, on_epoch=seen.append)
    losses = [entry["val_loss"] for entry in found.history]
    assert seen == found.history
    assert found.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == found.best_epoch + 3
    logits, _ = predict(found.head, flipped)
    assert balanced_loss(logits, flipped.labels, 2) == pytest.approx(min(losses), abs=1e-6)
    assert found.scores["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_the_scale_of_features_does_not_matter() -> None:
    plain = run(separable(24, seed=1), separable(12, seed=2))
    scaled = run(separable(24, seed=1, scale=1e4), separable(12, seed=2, scale=1e4))
    assert scaled.scores["loss"] == pytest.approx(plain.scores["loss"], rel=1e-2)


def test_prevalence_does_not_decide() -> None:
    """Features that say nothing and nine negatives to one positive: the head should shrug, not say negative."""
    train = dataclasses.replace(make_bags([5] * 60, seed=5), labels=(torch.arange(60) < 6).long())
    found = run(
        train, separable(12, seed=2), dataclasses.replace(SETTING, weight_decay=10.0), bags_per_step=1, epochs=4
    )
    probability = predict(found.head, train)[0].softmax(1)[:, 1].mean()
    assert 0.3 < probability < 0.7


def test_balanced_loss_is_the_mean_over_classes() -> None:
    logits, labels = torch.randn(5, 2), torch.tensor([0, 0, 0, 0, 1])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert balanced_loss(logits, labels, 2) == pytest.approx(float((each[:4].mean() + each[4]) / 2))


def test_prediction_does_not_depend_on_how_many_bags_go_together(sides, monkeypatch: pytest.MonkeyPatch) -> None:
    head = run(*sides, epochs=2).head
    whole = predict(head, sides[0])
    for size in (1, 9, 20):
        monkeypatch.setattr(bags, "PATCHES_AT_ONCE", size)
        for found, expected in zip(predict(head, sides[0]), whole, strict=True):
            torch.testing.assert_close(found, expected)


def test_a_fit_that_diverges_has_finite_scores(sides) -> None:
    found = run(*sides, dataclasses.replace(SETTING, lr=1e30))
    assert all(np.isfinite(value) for value in found.scores.values())


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_agree_with_sklearn(classes: int) -> None:
    bags = make_bags([3] * 12, classes=classes)
    found = run(bags, bags, classes=classes, epochs=2)
    labels, probabilities = bags.labels.numpy(), predict(found.head, bags)[0].double().softmax(1).numpy()
    scored = probabilities if classes > 2 else probabilities[:, 1]
    assert found.scores["auroc"] == pytest.approx(roc_auc_score(labels, scored, multi_class="ovr"))
    assert found.scores["balanced_accuracy"] == balanced_accuracy_score(labels, probabilities.argmax(1))


def test_collapsed_features_give_chance_and_no_nan() -> None:
    bags = dataclasses.replace(make_bags([3] * 8), features=torch.full((24, 5), 0.7))
    found = run(bags, bags, epochs=2)
    assert found.scores["auroc"] == 0.5
    assert np.isfinite(found.scores["loss"])
