"""The features that a head was fitted to, which need not be `RUN/features`: the record of its search names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.errors import UserError
from wsc_ray.files import read_summary
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown, unusable


def features_of_head(
    place: AnyPath, embed: Mapping[str, Any] | None, run: RunFolder | None
) -> tuple[AnyPath | None, str]:
    """Return the feature store that a head was fitted to, None if it is not known, or gone; and why the store that is named is not used, or "".

    A store counts if it does not name another encoder or patch size than the head's record.

    Args:
        place: the head's folder; the summary of `tune` there names the features.
        embed: encoder and patch size that the head's members recorded; None if these are unknown.
        run: the run. Its features count if the summary names none, or names those that lay in this run before it was moved.
    """
    summary = read_summary(place) or {}
    named = summary.get("features")
    stores = [named] if isinstance(named, str) else []
    if run is not None and (not stores or _has_moved(summary, place, run)):
        stores.append(str(run.features))
    problems = []
    for store in dict.fromkeys(stores):
        problem = _problem(store, embed)
        if not problem:
            return as_path(store), ""
        problems.append(problem)
    return None, problems[0] if problems else ""


def _has_moved(summary: Mapping[str, Any], place: AnyPath, run: RunFolder) -> bool:
    """Return whether a search wrote to a run folder, next to that run's own features, and its folder now lies in `run`."""
    try:
        features, out = as_path(summary["features"]), as_path(summary["out"])
    except (KeyError, UserError):
        return False
    lay_in = features.parent
    return place.parent == run.path and lay_in == out.parent and RunFolder(lay_in).features == features


def _problem(place: str, embed: Mapping[str, Any] | None) -> str:
    """Return why a store does not count as the head's features; "" if it counts."""
    try:
        store = as_path(place)
        if not (store / COHORT_FILE).is_file():
            return f"{shown(place)} is gone"
        if not _agree(encoder_of(store), embed):
            return f"{shown(place)} has another encoder or patch size than the head's record"
    except (UserError, OSError) as error:
        return unusable(place, error)
    return ""


def _agree(here: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> bool:
    """Return whether two records of encoder and patch size do not contradict each other."""
    both = (here or {}).keys() & (wanted or {}).keys()
    return all((here or {})[name] == (wanted or {})[name] for name in both if (wanted or {})[name] is not None)
