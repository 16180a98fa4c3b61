"""The learning rate and the similarity weight as functions of the step."""

import pytest

from wsc_ray.pretrain.schedule import learning_rate, similarity_weight
from wsc_ray.recipe.sections import Loss, Train


def test_the_papers_schedule():
    paper, steps = Train(), 5000
    assert learning_rate(0, paper, steps) == pytest.approx(0.001)
    assert learning_rate(7500, paper, steps) == pytest.approx((0.001 + 0.2) / 2)
    assert learning_rate(15_000, paper, steps) == pytest.approx(0.2)
    for cuts, epoch in enumerate([16, 28, 40, 50, 60, 68, 76, 83, 90], start=1):
        assert learning_rate(epoch * steps - 1, paper, steps) == pytest.approx(0.2 * 0.5 ** (cuts - 1))
        assert learning_rate(epoch * steps, paper, steps) == pytest.approx(0.2 * 0.5**cuts)


def test_cosine_ends_at_zero():
    config = Train(epochs=10, warmup_epochs=2, schedule="cosine", lr=1.0)
    assert learning_rate(20, config, 10) == pytest.approx(1.0)
    assert learning_rate(60, config, 10) == pytest.approx(0.5)
    assert learning_rate(100, config, 10) == pytest.approx(0.0)


def test_no_warmup_starts_at_the_learning_rate():
    assert learning_rate(0, Train(warmup_epochs=0), 10) == 0.2


def test_the_similarity_weight_rises_from_nothing():
    config = Loss(similarity_weight=0.5, similarity_warmup=10)
    assert [similarity_weight(step, config) for step in (0, 5, 10, 99)] == [0, 0.25, 0.5, 0.5]
    assert similarity_weight(0, Loss(similarity_warmup=0)) == 1.0


def test_a_weight_that_follows_is_whole_to_the_schedule():
    assert [similarity_weight(step, Loss(similarity_weight=0.5)) for step in (0, 99)] == [0.5, 0.5]
