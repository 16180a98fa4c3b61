"""The similarity half's share of its weight, by hand and on any number of workers."""

import math

import pytest
import torch

from tests.losses.cases import unit_views
from wsc_ray.losses import WeakSupConLoss
from wsc_ray.pretrain.rise import next_share, progress
from wsc_ray.recipe.sections import Loss

ONE = Loss(temperature=1.0, base_temperature=1.0)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("contrastive", "share"),
    [
        (1.2, 0.0),  # worse than one point
        (1.098612, 0.0),  # ln 3, one point
        (0.961820, 0.125),  # a quarter of the way to ln(1 + 2 / e) = 0.551444
        (0.879745, 0.512),  # 0.4 of the way
        (0.825028, 1.0),  # half of the way
        (0.551444, 1.0),
        (0.2, 1.0),
    ],
)
def test_what_the_contrastive_half_allows(contrastive: float, share: float):
    """Two mixed patches at t = t0 = 1; the share has long been whole."""
    assert next_share(number(1.0), number(contrastive), 2, ONE) == pytest.approx(share, abs=1e-5)


def test_it_rises_by_a_two_hundredth_a_step_and_falls_at_once():
    found, share = [], number(0.0)
    for contrastive in (0.6, 0.6, 0.6, 1.09, 0.6):
        share = next_share(share, number(contrastive), 2, ONE)
        found.append(float(share))
    fallen = ((1.098612 - 1.09) / (1.098612 - 0.551444) / 0.5) ** 3
    assert found == pytest.approx([0.005, 0.010, 0.015, fallen, fallen + 0.005], rel=1e-3)


@pytest.mark.parametrize("temperature", [1e-4, 0.05, 0.1, 0.5, 5.0])
@pytest.mark.parametrize("patches", [2, 32, 4096])
def test_progress_goes_from_one_point_to_orthogonal_patches(temperature: float, patches: int):
    config = Loss(temperature=temperature)
    scale, others = temperature / config.base_temperature, 2 * patches - 2
    point, apart = math.log(1 + others) * scale, math.log(1 + others * math.exp(-1 / temperature)) * scale
    for way in (0, 0.25, 1):
        assert progress(number(point + way * (apart - point)), patches, config) == pytest.approx(way, abs=1e-6)


def test_progress_is_what_the_loss_says_of_such_features():
    labels, config = torch.tensor([0] * 4 + [1] * 8), Loss()
    point = torch.ones(12, 2, 16, dtype=torch.float64) / 4
    apart = torch.eye(16, dtype=torch.float64)[:12, None].expand(-1, 2, -1)
    for views, way in ((point, 0), (apart, 1)):
        assert progress(WeakSupConLoss()(views, labels).contrastive, 8, config) == pytest.approx(way, abs=1e-9)


@pytest.mark.parametrize("patches", [0, 1])
def test_where_nothing_holds_features_apart_there_is_no_share(patches: int):
    assert next_share(number(0.5), number(0.0), patches, Loss()) == 0


def shares_on_worker(rank: int, bounds: list[int]) -> list[float]:
    """Of three steps, for this worker's part of a batch."""
    views, labels = unit_views(9, d=4, seed=5), torch.tensor([0, 0, 0, 1, 2, 1, 1, 0, 1])
    views[:, 1] = views[:, 0]  # learned
    mine, share, found = slice(bounds[rank], bounds[rank + 1]), number(0.0), []
    for _ in range(3):
        share = next_share(share, WeakSupConLoss()(views[mine], labels[mine]).contrastive, 5, Loss())
        found.append(float(share))
    return found


def test_any_number_of_workers_has_the_same_share(gang_of):
    """Of which some hold patches of one class alone, or none."""
    (expected,) = gang_of(1)(shares_on_worker, [0, 9])
    assert 0 < expected[0] < expected[1] < expected[2]
    for bounds in ([0, 3, 9], [0, 2, 2, 6, 9]):
        workers = len(bounds) - 1
        for found in gang_of(workers)(shares_on_worker, bounds):
            assert found == pytest.approx(expected, rel=1e-12)
