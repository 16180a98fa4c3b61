"""Choosing validation slides among training slides: by whole patients, with every class on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.random import permutation

TRIES = 100


def patient_split(patients: Sequence[str], labels: Sequence[str], *, fraction: float, seed: int) -> np.ndarray:
    """Choose validation patients, about `fraction` of each label's.

    All slides of a patient are on one side, whatever their labels. Patients are distributed by iterative stratification (Sechidis
    et al. 2011, doi:10.1007/978-3-642-23808-6_10): the rarest label first, and each patient to the side that lacks most of it.
    The result depends on the seed and on each patient's labels, not on the order of slides.

    Args:
        patients: patient of each slide, (n,).
        labels: label of each slide, (n,).
        fraction: share of a label's patients to validate on; at least one patient is on each side.

    Returns:
        (n,) bool, True for validation.

    Raises:
        DataError: a label has fewer than two patients, or no split has every label on both sides.
    """
    of_patient: dict[str, set[str]] = defaultdict(set)
    for patient, label in zip(patients, labels, strict=True):
        of_patient[patient].add(label)
    count = Counter(label for labels_of_one in of_patient.values() for label in labels_of_one)
    few = sorted(label for label, number in count.items() if number < 2)
    if few:
        raise DataError(
            f"label {', '.join(few)} has slides of one patient only; choosing a head needs one to fit and another to "
            "validate: add patients, or give the manifest a validation split"
        )
    wanted = {label: min(max(round(number * fraction), 1), number - 1) for label, number in count.items()}
    for attempt in range(TRIES):
        names = sorted(of_patient)
        shuffled = [names[i] for i in permutation(len(names), seed, attempt)]
        chosen = _stratify(shuffled, of_patient, count, wanted)
        inside = {label for patient in chosen for label in of_patient[patient]}
        outside = {label for patient in names if patient not in chosen for label in of_patient[patient]}
        if inside == outside == set(count):
            return np.array([patient in chosen for patient in patients], dtype=bool)
    raise DataError(
        "no split of the training patients has every label on both sides; give the manifest a validation split"
    )


def _stratify(
    names: list[str], of_patient: dict[str, set[str]], count: Counter[str], wanted: dict[str, int]
) -> set[str]:
    """Return the patients to validate on: `wanted` of each label, as nearly as patients with several labels allow."""
    lack = dict(wanted)  # by label, the number of patients that validation still lacks
    lack_fit = {label: count[label] - wanted[label] for label in count}  # the same for fitting
    chosen: set[str] = set()
    left = list(names)
    while left:
        remaining = Counter(label for patient in left for label in of_patient[patient])
        rarest = min(remaining, key=lambda label: (remaining[label], label))
        for patient in [p for p in left if rarest in of_patient[p]]:
            # Shares of what each side wants are compared, so that the smaller side is not served last.
            validate = lack[rarest] / wanted[rarest] > lack_fit[rarest] / (count[rarest] - wanted[rarest])
            side = lack if validate else lack_fit
            if validate:
                chosen.add(patient)
            for label in of_patient[patient]:
                side[label] -= 1
        left = [p for p in left if rarest not in of_patient[p]]
    return chosen
