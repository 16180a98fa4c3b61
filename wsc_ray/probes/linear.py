"""A linear classifier of features: logistic regression with scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.probes.samples import Samples

GROUPS = 10  # number of groups of patients for cross-validation
_ITERATIONS = 1000


def linear_probabilities(train: Samples, query: Samples | None, seed: int) -> np.ndarray:
    """Return the probabilities of each class, by logistic regression on standardised features.

    Classes have equal weights. The penalty is that of Chen et al. 2024 (UNI, doi:10.1038/s41591-024-02857-3): l2 with 100 / (D C),
    which is scikit-learn's parameter C = D C / 100.

    Args:
        train: the samples to fit to.
        query: samples of other patients; None to predict `train` itself by cross-validation, with its patients in up to ten groups,
            and in no more than the label with the fewest patients has patients (but two at least).
        seed: the seed of the groups.

    Returns:
        (n, C) float64, for the queries.

    Raises:
        DataError: a group of patients holds all samples of a class.
    """
    if query is not None:
        return _fit(train, query)
    from sklearn.model_selection import StratifiedGroupKFold

    per_class = [len(np.unique(train.patients[train.labels == c])) for c in range(len(train.classes))]
    groups = min(GROUPS, len(np.unique(train.patients)), max(2, min(per_class)))
    probabilities = np.empty((len(train), len(train.classes)))
    division = StratifiedGroupKFold(groups, shuffle=True, random_state=seed)
    for inside, outside in division.split(train.features, train.labels, train.patients):
        probabilities[outside] = _fit(train.select(inside), train.select(outside))
    return probabilities


def _fit(train: Samples, query: Samples) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = len(train.classes)
    if len(np.unique(train.labels)) < classes:
        lacking = ", ".join(name for c, name in enumerate(train.classes) if c not in train.labels)
        raise DataError(f"no sample of label {lacking} is left to fit to; add patients of that label")
    strength = train.features.shape[1] * classes / 100
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS, class_weight="balanced")
    )
    with warnings.catch_warnings():
        # After so many steps the fit is nearly converged, which is enough for a probe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.features, train.labels)
    return model.predict_proba(query.features)
