"""The search against plain matrix products."""

import numpy as np
import pytest

from wsc_ray.neighbours import index as module
from wsc_ray.neighbours.index import PatchIndex
from wsc_ray.neighbours.vectors import unit_vectors


@pytest.fixture
def vectors():
    return unit_vectors(np.random.default_rng(0).normal(size=(3000, 24)), "s")


def test_exact_search_is_a_sorted_product(vectors):
    cosines, found = PatchIndex(vectors, 5).search(vectors[:5], 7, without=range(0, 100))
    products = vectors[:5] @ vectors.T
    products[:, :100] = -2
    assert (found == np.argsort(-products, axis=1)[:, :7]).all()
    np.testing.assert_allclose(cosines, np.take_along_axis(products, found, 1), atol=1e-6)


def test_fewer_patches_than_asked_for_end_in_minus_one(vectors):
    _, found = PatchIndex(vectors[:4], 1).search(vectors[:1], 6, without=range(0, 1))
    assert sorted(found[0]) == [-1, -1, -1, 1, 2, 3]
    assert found[0][3:].tolist() == [-1, -1, -1]


def test_cells_leave_out_what_does_not_count_and_say_their_recall(vectors, monkeypatch):
    monkeypatch.setattr(module, "EXACT", 10)
    index = PatchIndex(vectors, len(vectors))
    assert not index.exact
    cosines, found = index.search(vectors[:200], 10, without=range(0, 200))
    assert (found >= 200).all()
    products = vectors[:200] @ vectors[200:].T
    true = 200 + np.argsort(-products, axis=1)[:, :10]
    share = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, true, strict=True)])
    assert 0.3 < share <= 1
    assert abs(index.recall - share) < 0.15  # of other queries, each with itself among its nearest
    assert (np.diff(cosines, axis=1) <= 0).all()
