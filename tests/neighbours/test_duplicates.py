"""Copies of slides between patients, on features whose copies are known."""

from dataclasses import replace

import numpy as np
import pytest

from wsc_ray.neighbours.duplicates import COPY, find_copies, nearest_of_others
from wsc_ray.neighbours.vectors import PatchVectors, unit_vectors

SLIDES, PATCHES, WIDTH = 8, 20, 16


def vectors_of(rng: np.random.Generator, count: int = PATCHES) -> np.ndarray:
    return unit_vectors(rng.normal(size=(count, WIDTH)), "s")


def patches_of(slides: dict[str, tuple[str, np.ndarray]]) -> PatchVectors:
    """Slides by id: patient and vectors."""
    ordered = sorted(slides.items(), key=lambda item: (item[1][0], item[0]))
    sizes = [len(vectors) for _, (_, vectors) in ordered]
    return PatchVectors(
        np.concatenate([vectors for _, (_, vectors) in ordered]),
        np.concatenate([np.column_stack([np.arange(size), np.zeros(size, np.int64)]) for size in sizes]),
        np.cumsum([0, *sizes]),
        tuple(name for name, _ in ordered),
        tuple(patient for _, (patient, _) in ordered),
    )


@pytest.fixture
def slides():
    rng = np.random.default_rng(0)
    return {f"s{number}": (f"p{number}", vectors_of(rng)) for number in range(SLIDES)}


def named(slides) -> list[tuple[str, str]]:
    patches = patches_of(slides)
    nearest, chance, index = nearest_of_others(patches)
    assert index.exact
    assert index.recall == 1
    return [pair.slides for pair in find_copies(patches, nearest, chance)]


def test_slides_that_merely_lie_beside_each_other_are_no_copies(slides):
    assert named(slides) == []


def test_a_slide_under_another_patient_is_named(slides):
    slides["copy"] = ("q", slides["s3"][1])
    assert named(slides) == [("s3", "copy")]


def test_one_copied_patch_is_enough_where_it_is_the_same(slides):
    vectors = vectors_of(np.random.default_rng(1))
    vectors[7] = slides["s5"][1][2]
    slides["other"] = ("q", vectors)
    patches = patches_of(slides)
    (pair,) = find_copies(patches, *nearest_of_others(patches)[:2])
    assert pair.slides == ("s5", "other")
    assert pair.copies == 2  # each of the two is the other's nearest
    assert [patches.coords[row, 0] for row in pair.example] == [2, 7]


def test_a_slide_that_changed_a_little_everywhere_is_named_by_many_patches(slides):
    noise = np.random.default_rng(2).normal(size=(PATCHES, WIDTH))
    slides["copy"] = ("q", unit_vectors(slides["s3"][1] + 0.08 * noise, "copy"))
    patches = patches_of(slides)
    (pair,) = find_copies(patches, *nearest_of_others(patches)[:2])
    assert pair.slides == ("s3", "copy")
    assert pair.patches > 20


def test_slides_of_one_patient_may_be_copies(slides):
    slides["copy"] = ("p3", slides["s3"][1])
    assert named(slides) == []


def test_what_looks_alike_everywhere_is_no_copy(slides):
    """Background: the same patch in every slide, many times."""
    glass = vectors_of(np.random.default_rng(3), 1)
    blank = {
        name: (patient, np.concatenate([vectors, np.repeat(glass, 12, 0)]))
        for name, (patient, vectors) in slides.items()
    }
    assert named(blank) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_tissue_that_one_slide_alone_has_makes_no_copies_of_the_rest(seed):
    """Its patches are far from the other slide, at nearly equal distances, as in a space of hundreds of dimensions."""
    rng = np.random.default_rng(seed)

    def tissue(which: int, count: int, spread: float) -> np.ndarray:
        found = np.zeros((count, WIDTH))
        found[:, which] = 1
        found[:, 8:14] = spread * rng.normal(size=(count, 6))
        return found

    both = np.concatenate([tissue(0, 60, 0.4), tissue(1, 20, 0.04)])
    assert named({"a": ("p", unit_vectors(both, "a")), "b": ("q", unit_vectors(tissue(0, 60, 0.4), "b"))}) == []


def test_three_copies_of_a_slide_are_three_pairs(slides):
    for copy in ("a", "b"):
        slides[copy] = (f"q{copy}", slides["s0"][1])
    assert {frozenset(pair) for pair in named(slides)} <= {frozenset(p) for p in (("s0", "a"), ("s0", "b"), ("a", "b"))}
    assert len(named(slides)) >= 2  # every copy is named with one of the others


def test_a_single_patient_has_no_copies(slides):
    only = patches_of({"s0": slides["s0"]})
    nearest, chance, _ = nearest_of_others(only)
    assert (nearest == -1).all()
    assert (chance == 1).all()
    assert find_copies(only, nearest, chance) == []


def test_a_cohort_of_copies_alone(slides):
    copies = {f"{name} again": ("q" + patient, vectors) for name, (patient, vectors) in slides.items()}
    assert len(named(slides | copies)) == SLIDES


def test_chances_are_uniform_where_nothing_is_copied():
    rng = np.random.default_rng(4)
    points = {f"s{number}": (f"p{number}", vectors_of(rng, 100)) for number in range(30)}
    _, chance, _ = nearest_of_others(patches_of(points))
    assert abs((chance < 0.5).mean() - 0.5) < 0.1
    assert abs((chance < 0.05).mean() - 0.05) < 0.04
    assert (chance < COPY).sum() == 0


def test_rows_of_patients_are_whole(slides):
    slides["s3b"] = ("p3", slides["s3"][1])
    patches = patches_of(slides)
    rows = patches.rows_of_patients()
    assert [len(each) for each in rows] == [PATCHES if number != 3 else 2 * PATCHES for number in range(SLIDES)]
    assert [row for each in rows for row in each] == list(range(len(patches)))
    assert replace(patches, patient_ids=("x",) * (SLIDES + 1)).rows_of_patients() == [range(len(patches))]
