"""Divide a cohort into folds of whole patients, or of whole sites, with every label in each fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from wsc_ray.cohort.problems import listed, patients_in_several
from wsc_ray.errors import DataError
from wsc_ray.files import is_file_name

By = Literal["patient", "site", "leave-one-site-out"]


def make_folds(
    patients: Sequence[str],
    labels: Sequence[str],
    sites: Sequence[str | None] | None,
    *,
    by: By,
    folds: int,
    seed: int,
) -> list[str]:
    """Return the fold of each slide.

    scikit-learn's StratifiedGroupKFold distributes the groups so that all folds have similar shares of each label. The
    result depends on which patient has which labels, and not on the order of slides.

    Args:
        patients, labels: patient and label of each slide, (n,).
        sites: site of each slide, (n,), for folds by site; None: unknown.
        by: what stays together. `patient`: all slides of a patient. `site`: all slides of a site (Howard et al. 2021,
            doi:10.1038/s41467-021-24698-1). `leave-one-site-out`: each site is a fold, with the site's name.
        folds: number of folds; ignored for `leave-one-site-out`.
        seed: seed of the shuffle.

    Returns:
        (n,) names of folds: `0`, `1`, ..., or sites.

    Raises:
        DataError: there are fewer patients or sites than folds, in all or of a label; a site is unknown; a patient has
            several sites; a site cannot be a file name; or a fold lacks a label.
    """
    groups = list(patients) if by == "patient" else _sites(patients, sites)
    if by == "leave-one-site-out":
        bad = sorted({group for group in groups if not is_file_name(group)})
        if bad:
            raise DataError(f"sites that cannot be file names, as folds must be: {listed(bad)}; rename them")
        names = groups
    else:
        _refuse_few(groups, labels, folds, "patients" if by == "patient" else "sites")
        names = _stratified(groups, labels, folds, seed)
    if len(set(names)) < 2:
        raise DataError(f"all slides are of one site ({names[0]}); leaving it out leaves nothing to fit to")
    for name in sorted(set(names)):
        present = {label for label, fold in zip(labels, names, strict=True) if fold == name}
        lacking = sorted(set(labels) - present)
        if lacking:
            raise DataError(
                f"fold {name} would have no slide of {', '.join(lacking)}; "
                + ("use --by site" if by == "leave-one-site-out" else "make fewer folds, or give another --seed")
            )
    return names


def _sites(patients: Sequence[str], sites: Sequence[str | None] | None) -> list[str]:
    if sites is None:
        raise DataError("the cohort has no column `site`; folds by site need one")
    unknown = [patient for patient, site in zip(patients, sites, strict=True) if site is None]
    if unknown:
        raise DataError(f"{len(unknown):,} slides have no site, of patients {listed(sorted(set(unknown)))}")
    problems = patients_in_several(patients, sites, "site")
    if problems:
        raise DataError(problems[0])
    return [str(site) for site in sites]


def _refuse_few(groups: Sequence[str], labels: Sequence[str], folds: int, what: str) -> None:
    if len(set(labels)) < 2:
        raise DataError(f"slides of one label only ({', '.join(set(labels)) or 'none'}); folds need at least two")
    groups_of: dict[str, set[str]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        groups_of[label].add(group)
    few = [f"{label} ({len(own)})" for label, own in sorted(groups_of.items()) if len(own) < folds]
    if few:
        raise DataError(f"labels with slides of fewer {what} than {folds} folds: {listed(few)}; make fewer folds")


def _stratified(groups: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> list[str]:
    from sklearn.model_selection import StratifiedGroupKFold

    order = sorted(range(len(groups)), key=lambda row: (groups[row], labels[row]))
    y, group = np.array([labels[row] for row in order]), np.array([groups[row] for row in order])
    names = [""] * len(groups)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(y)), y, group)):
        for row in held_out:
            names[order[row]] = str(number)
    return names
