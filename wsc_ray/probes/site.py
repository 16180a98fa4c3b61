"""The influence of the site (a hospital, a scanner) on features, compared with that of the label."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.evaluate.metrics import measure_classes
from wsc_ray.probes.linear import linear_probabilities
from wsc_ray.probes.samples import Samples

NEIGHBOURS = (5, 11, 21)  # candidates, of which the robustness index chooses by its own rule


def robustness(samples: Samples, sites: np.ndarray, seed: int) -> tuple[dict[str, Any] | None, list[str]]:
    """Return how well features predict the site, and whether neighbours share the label or the site.

    `site_balanced_accuracy` is that of a linear classifier of sites, on patients that it was not fitted to; features without any
    trace of the site give `chance`, 1 / (number of sites). `robustness_index` (arXiv 2507.17845) is the share of neighbours with
    the same label and another site, among neighbours that share exactly one of the two; above 0.5 the label has more influence.
    The package croma computes it, with patients as its groups, so that no neighbour is of the same patient.

    Args:
        samples: one sample per slide.
        sites: (n,) text, the site of each sample, "" if it is not known.
        seed: the seed of the groups of patients.

    Returns:
        The figures, None if fewer than two sites have two patients, or a group of patients holds all slides of a site; and notes, none
        if no site is known.
    """
    patients_of = {site: len(set(samples.patients[sites == site])) for site in sorted(set(sites) - {""})}
    if not patients_of:
        return None, []
    enough = [site for site, count in patients_of.items() if count > 1]
    notes = [f"slides whose site is not known, left out of its figures: {n}"] if (n := int((sites == "").sum())) else []
    few = [site for site, count in patients_of.items() if count < 2]
    if few:
        notes.append(f"sites of one patient, left out: {', '.join(few)}")
    if len(enough) < 2:
        return None, [*notes, "robustness to site needs two sites with two patients each at least"]
    chosen = np.isin(sites, enough)
    kept, their_sites = samples.select(chosen), sites[chosen]
    of_site = kept.labelled(their_sites.tolist())
    try:
        predicted = linear_probabilities(of_site, None, seed).argmax(axis=1)
    except DataError:  # the figures of labels are worth having without these
        return None, [
            *notes,
            "robustness to site needs more patients of each site: one of their groups holds all slides of a site",
        ]
    accuracy = measure_classes(of_site.labels, predicted, of_site.classes, np.ones((1, len(kept))))["balanced_accuracy"]
    figures: dict[str, Any] = {
        "sites": len(enough),
        "slides": len(kept),
        "site_balanced_accuracy": float(accuracy[0]),
        "chance": 1 / len(enough),
    }
    index, reason = _robustness_index(kept, their_sites)
    return {**figures, **index}, [*notes, *reason]


def _robustness_index(samples: Samples, sites: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    try:
        from croma import RI
    except ImportError:
        return {}, ["the robustness index is the package croma's; install it: pip install 'wsc-ray[probe]'"]
    import pandas as pd

    largest = max(np.unique(samples.patients, return_counts=True)[1])
    neighbours = [k for k in NEIGHBOURS if k <= len(samples) - largest]
    if not neighbours:
        return {}, [f"the robustness index needs {NEIGHBOURS[0]} slides of other patients at least"]
    table = pd.DataFrame(
        {
            "sample_id": samples.slides,
            "image_path": samples.slides,
            "label": np.array(samples.classes, dtype=str)[samples.labels],
            "group_id": samples.patients,
            "site": sites,
        }
    )
    with warnings.catch_warnings():
        # It warns of little support, which is reported beside the index.
        warnings.simplefilter("ignore", RuntimeWarning)
        index = RI.compute(samples.features, table, confounder_column="site", k_candidates=neighbours)
    if not index.support:
        return {}, ["no slide has a neighbour that shares its label or its site alone: there is no robustness index"]
    return {"robustness_index": float(index.value), "neighbours": int(index.k), "support": float(index.support)}, []
