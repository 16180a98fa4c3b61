import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.mil.cohort import make_bags
from wsc_ray.evaluate.attention import pooled, weighted_mean, within_slides

# Three slides: mixed, all healthy, and mixed with a patch of unknown label.
LABELS = [0, 1, 0, 0, 0, 1, 0, 1, -1, 0]
ATTENTION = np.array([0.1, 0.5, 0.3, 0.1, 0.5, 0.1, 0.2, 0.3, 0.2, 0.2])


@pytest.fixture
def bags():
    return dataclasses.replace(make_bags([4, 1, 5]), patch_labels=torch.tensor(LABELS, dtype=torch.int8))


def test_each_mixed_slide_is_measured_on_its_own(bags) -> None:
    found = within_slides(ATTENTION, bags)
    assert found[0] == roc_auc_score([0, 1, 0, 0], ATTENTION[:4]) == 1
    assert np.isnan(found[1])
    assert found[2] == roc_auc_score([1, 0, 1, 0], ATTENTION[[5, 6, 7, 9]])


def test_pooled_attention_is_relative_to_an_even_share(bags) -> None:
    known = np.array(LABELS) >= 0
    relative = ATTENTION * np.array([4] * 4 + [1] + [5] * 5)
    assert pooled(ATTENTION, bags) == pytest.approx(roc_auc_score(np.array(LABELS)[known], relative[known]))


def test_the_mean_is_over_slides_that_have_a_value() -> None:
    values, weights = np.array([1.0, np.nan, 0.5]), np.array([[1.0, 1, 1], [0, 5, 0], [2, 0, 0]])
    np.testing.assert_allclose(weighted_mean(values, weights), [0.75, np.nan, 1.0])
