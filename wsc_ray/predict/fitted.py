"""The features that a head was fitted to, which need not be `RUN/features`: the record of its search names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.files import read_summary
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path


def features_of_head(place: AnyPath, embed: Mapping[str, Any] | None, run: RunFolder | None) -> AnyPath | None:
    """Return the feature store that a head was fitted to; None if it is not known, or gone.

    A store counts if it does not name another encoder or patch size than the head's record.

    Args:
        place: the head's folder; the summary of `tune` there names the features.
        embed: encoder and patch size that the head's members recorded; None if these are unknown.
        run: the run, whose features count if those that the summary names are gone (the run was moved), or if it names none.
    """
    named = (read_summary(place) or {}).get("features")
    stores = [as_path(named)] if isinstance(named, str) else []
    stores += [run.features] if run is not None else []
    for store in dict.fromkeys(stores):
        if (store / COHORT_FILE).is_file() and _agree(encoder_of(store), embed):
            return store
    return None


def _agree(here: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> bool:
    """Return whether two records of encoder and patch size do not contradict each other."""
    both = (here or {}).keys() & (wanted or {}).keys()
    return all((here or {})[name] == (wanted or {})[name] for name in both if (wanted or {})[name] is not None)
