"""The order of a class: what its passes hold, and in which order."""

import numpy as np
import pytest

from wsc_ray.stream.class_order import equal_sources, locate, whole_groups

# Slides of 1, 30, 200 and 49 rows in row groups of up to 64, and their patients.
SLIDES = np.repeat([0, 1, 2, 3], [1, 30, 200, 49])
PATIENTS = np.array([0, 0, 1, 1])


def runs_of(slide, row_group_rows):
    """(group, start, rows, slide) of rows in this order."""
    row = np.arange(len(slide))
    first = np.flatnonzero((row % row_group_rows == 0) | (np.diff(slide, prepend=-1) != 0))
    return first // row_group_rows, first % row_group_rows, np.diff(first, append=len(slide)), slide[first]


def equal_lines(slide=SLIDES, patients=None):
    group, start, rows, number = runs_of(slide, 64)
    return equal_sources(group, start, rows, number if patients is None else patients[number], number)


def one_pass(lines, epoch=0, number=0, passes=1, seed=0):
    """(places of a pass,) rows of the class, counted through row groups of 64."""
    places = np.arange(number * lines.total, (number + 1) * lines.total)
    found = locate(lines, places, seed=seed, kind=0, epoch=epoch, passes=passes)
    return found[:, 0] * 64 + found[:, 1]


def test_whole_groups_give_every_patch_once_a_pass():
    lines = whole_groups([64, 64, 64, 64, 24])
    assert lines.total == 280
    assert not lines.rotates
    first, second = one_pass(lines), one_pass(lines, number=1)
    assert sorted(first) == sorted(second) == list(range(280))
    assert (first != second).any()


def test_a_pass_shuffles_row_groups_and_keeps_neighbours():
    rows = one_pass(whole_groups([64] * 30))
    assert (np.diff(rows.reshape(30, 64)) == 1).all()
    assert (np.diff(rows[::64]) < 0).any()


@pytest.mark.parametrize("patients", [None, PATIENTS])
def test_every_source_fills_the_same_number_of_slots(patients):
    lines = equal_lines(patients=patients)
    owner = SLIDES if patients is None else patients[SLIDES]
    sources = owner.max() + 1
    mean = round(len(SLIDES) / sources)
    assert lines.total == mean * sources
    for number in range(5):
        assert np.bincount(owner[one_pass(lines, number=number)]).tolist() == [mean] * sources


def test_every_source_fills_a_slot_at_least():
    lines = equal_sources(*runs_of(np.arange(5), 64), np.arange(5))
    assert lines.total == 5


@pytest.mark.parametrize("patients", [None, PATIENTS])
def test_a_sources_rows_come_equally_often_within_a_pass_and_over_passes_and_epochs(patients):
    lines = equal_lines(patients=patients)
    owner = SLIDES if patients is None else patients[SLIDES]
    counts = np.zeros(len(SLIDES), dtype=int)
    for epoch in range(4):
        for number in range(3):
            now = np.bincount(one_pass(lines, epoch, number, passes=3), minlength=len(SLIDES))
            counts += now
            for source in np.unique(owner):
                assert np.ptp(now[owner == source]) <= 1
                assert np.ptp(counts[owner == source]) <= 1


def test_a_pass_that_shows_some_of_a_patient_shows_some_of_each_slide():
    slide = np.repeat(np.arange(6), [1000, 2000, 3000, 100, 100, 100])
    patient = np.array([0, 0, 0, 1, 2, 3])
    lines = equal_lines(slide, patient)
    for number in range(3):
        shown = np.bincount(slide[one_pass(lines, number=number)])[:3]
        quota = shown.sum() * np.array([1, 2, 3]) / 6
        assert (np.abs(shown - quota) <= 64).all()


def test_copies_of_a_small_slides_patches_lie_apart():
    slide = np.repeat(np.arange(21), [20, *[400] * 20])
    rows = one_pass(equal_lines(slide))
    where = np.flatnonzero(slide[rows] == 0)
    laps = np.flatnonzero(np.diff(where) > 1)
    assert len(where) == 382
    assert len(laps) > 10
    assert all(len(np.unique(rows[lap])) == len(lap) for lap in np.split(where, laps + 1) if len(lap) <= 20)


def test_a_slide_with_many_patches_reads_neighbours():
    slide = np.repeat(np.arange(11), [6400, *[64] * 10])
    rows = one_pass(equal_lines(slide))
    big = rows[slide[rows] == 0]
    assert len(np.unique(big // 64)) <= len(big) / 64 + 2
