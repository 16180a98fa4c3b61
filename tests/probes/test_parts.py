import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.mil.cohort import make_bags
from wsc_ray.errors import DataError
from wsc_ray.probes.linear import linear_probabilities
from wsc_ray.probes.neighbours import neighbour_shares
from wsc_ray.probes.samples import Samples, patch_samples, require_patients, slide_samples
from wsc_ray.probes.site import robustness


def samples(count: int = 60, *, patients: int = 20, classes: int = 2, shift: float = 1.0, seed: int = 0) -> Samples:
    """Samples whose classes lie apart by `shift`; patients in a mixed order, each of one class."""
    rng = np.random.default_rng(seed)
    patient = rng.permutation(np.arange(count) % patients)
    labels = patient % classes
    features = rng.normal(size=(count, 6)) + shift * np.eye(6)[labels] + 3
    names = np.array([f"p{each:02d}" for each in patient])
    slides = np.array([f"s{i}" for i in range(count)])
    return Samples(features.astype(np.float32), labels, tuple("abc"[:classes]), slides, names)


def brute_force(train: Samples, query: Samples, k: int, *, own: bool) -> np.ndarray:
    """Shares of classes among neighbours, from all cosines."""
    mean = train.features.mean(axis=0)
    one, other = (each.features - mean for each in (query, train))
    cosine = (one / np.linalg.norm(one, axis=1, keepdims=True)) @ (
        other / np.linalg.norm(other, axis=1, keepdims=True)
    ).T
    if own:
        cosine[query.patients[:, None] == train.patients[None]] = -np.inf
    nearest = np.argsort(-cosine, axis=1)[:, :k]
    return np.stack([(train.labels[nearest] == c).mean(axis=1) for c in range(len(train.classes))], axis=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_neighbours_are_the_nearest_of_other_patients(classes: int) -> None:
    some = samples(classes=classes)
    np.testing.assert_allclose(neighbour_shares(some, None, 7), brute_force(some, some, 7, own=True))
    others = samples(30, patients=7, classes=classes, seed=1)
    np.testing.assert_allclose(neighbour_shares(some, others, 5), brute_force(some, others, 5, own=False))


def test_more_neighbours_than_there_are_are_all_there_are() -> None:
    some = samples(12, patients=4)
    np.testing.assert_allclose(neighbour_shares(some, None, 500), brute_force(some, some, 9, own=True))


def test_a_copy_of_the_own_patient_is_no_help() -> None:
    """Labels at random by patient, and slides that are near copies of their patient's other: chance, not certainty."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(200, 8)), 2, axis=0) + rng.normal(0, 1e-3, (400, 8))
    patients = np.repeat([f"p{i:03d}" for i in range(200)], 2)
    labels = np.repeat(rng.integers(0, 2, 200), 2)
    some = Samples(features.astype(np.float32), labels, ("a", "b"), patients, patients)
    for predicted in (neighbour_shares(some, None, 1), linear_probabilities(some, None, 0)):
        assert (predicted.argmax(axis=1) == labels).mean() == pytest.approx(0.5, abs=0.12)


def test_the_linear_probe_is_fitted_to_other_patients() -> None:
    """With as many groups as patients of a class, each prediction is of a fit without the patient."""
    some = samples(24, patients=8, shift=0.5)
    found = linear_probabilities(some, None, 0)
    assert found.sum(axis=1) == pytest.approx(1)
    query = some.select(np.arange(5))
    mean, std = some.features.mean(axis=0), some.features.std(axis=0)
    model = LogisticRegression(C=6 * 2 / 100, class_weight="balanced").fit((some.features - mean) / std, some.labels)
    expected = model.predict_proba((query.features - mean) / std)
    np.testing.assert_allclose(linear_probabilities(some, query, 0), expected, atol=1e-3)


def test_a_slide_is_the_mean_of_its_patches() -> None:
    bags = make_bags([3, 1, 5])
    slides = slide_samples(bags, ["a", "b"])
    for i in range(3):
        rows = bags.features[bags.offsets[i] : bags.offsets[i + 1]].numpy()
        np.testing.assert_allclose(slides.features[i], rows.mean(axis=0), rtol=1e-6)
    assert slides.patients.tolist() == ["p0", "p1", "p2"]


def test_patches_of_known_label_are_drawn_and_no_others() -> None:
    bags = make_bags([30, 4, 50])
    assert bags.patch_labels is not None
    bags.patch_labels[:10] = -1
    patches = patch_samples(bags, most=15, seed=0)
    assert patches is not None
    assert np.unique(patches.slides, return_counts=True)[1].tolist() == [15, 4, 15]
    for row, label in zip(patches.features, patches.labels, strict=True):
        (place,) = np.flatnonzero((bags.features.numpy() == row).all(axis=1))
        assert place >= 10
        assert bags.patch_labels[place] == label
    assert (patch_samples(bags, most=15, seed=1).features != patches.features).any()


def test_a_class_of_one_patient_is_a_sentence() -> None:
    some = samples(12, patients=4)
    few = some.select((some.labels == 0) | (some.patients == "p01"))
    with pytest.raises(
        DataError, match="slides of label b are of 1 patients; leaving patients out needs at least 2 of each"
    ):
        require_patients(few, "slides")
    with pytest.raises(DataError, match="no sample of label b is left"):
        linear_probabilities(some.select(some.labels == 0), some, 0)


def test_features_of_a_site_are_told_from_features_of_a_label() -> None:
    """Features that hold the site alone, and the label alone."""
    some = samples(120, patients=40, shift=0)
    sites = np.array(["x", "y"])[(some.patients.astype("U3").view("U1").reshape(-1, 3)[:, 2].astype(int) // 2) % 2]
    of_site = Samples(
        some.features + 4 * (sites == "x")[:, None] * np.eye(6, dtype=np.float32)[0], *list(vars(some).values())[1:]
    )
    of_label = Samples(
        some.features + 4 * some.labels[:, None] * np.eye(6, dtype=np.float32)[0], *list(vars(some).values())[1:]
    )
    (site, _), (label, _) = robustness(of_site, sites, 0), robustness(of_label, sites, 0)
    assert site["site_balanced_accuracy"] > 0.9
    assert label["site_balanced_accuracy"] == pytest.approx(site["chance"], abs=0.2)
    assert site["robustness_index"] < 0.2 < 0.8 < label["robustness_index"]


def test_sites_that_say_nothing_are_left_out() -> None:
    some = samples(40, patients=20)
    sites = np.where(some.patients == "p00", "alone", np.where(some.patients == "p01", "", "x"))
    figures, notes = robustness(some, sites, 0)
    assert figures is None
    assert any("sites of one patient, left out: alone" in note for note in notes)
    assert any("not known, left out of its figures: 2" in note for note in notes)
    assert "needs two sites with two patients each" in notes[-1]


def test_a_group_with_all_slides_of_a_site_leaves_out_the_figures_of_sites_alone() -> None:
    patients = np.repeat(["p0", "p1", "p2", "p3"], [1, 2, 3, 7])
    sites = np.array(list("xxxyxxyyyyyyy"))
    some = samples(13)
    few = Samples(some.features, some.labels, some.classes, some.slides, patients)
    figures, notes = robustness(few, sites, 0)
    assert figures is None
    assert notes == [
        "robustness to site needs more patients of each site: one of their groups holds all slides of a site"
    ]


def test_without_its_packages_a_probe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    some = samples()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DataError, match=r"pip install 'wsc-ray\[probe\]'"):
        neighbour_shares(some, None, 5)
    monkeypatch.setitem(sys.modules, "croma", None)
    figures, notes = robustness(some, np.where(some.labels == 0, "x", "y"), 0)
    assert "robustness_index" not in figures
    assert "pip install 'wsc-ray[probe]'" in notes[-1]
