"""The folders of a result: the run, its features, its head, its evaluation or prediction, found from the folder that was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.errors import RecipeError, RunFolderError, UserError
from wsc_ray.files import read_summary
from wsc_ray.run_folder import RunFolder
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath, as_path, check_store
from wsc_ray.uris import shown, unusable

FEATURES, MANIFEST = "features", "manifest"  # in a folder of `predict`: what it embedded, and the patches that it cut
_HEAD = "config.json"  # in the folder of a head
_ASK = "give a run folder, a folder of `evaluate` or `predict`, or one of features"


@dataclass(frozen=True)
class Parts:
    """One result.

    Attributes:
        name: a short name, unique in the report.
        place: the folder that was given.
        run, features, head, evaluation, prediction: folders; None if the result has no such part.
        notes: a sentence for each folder that a record names and that cannot be looked at, so that it counts as gone.
    """

    name: str
    place: AnyPath
    run: RunFolder | None
    features: AnyPath | None
    head: AnyPath | None
    evaluation: AnyPath | None
    prediction: AnyPath | None = None
    notes: tuple[str, ...] = ()


def find_results(given: Sequence[str | Path]) -> list[Parts]:
    """Return the results in the order given.

    Raises:
        RecipeError: no result is given, or one twice.
        RunFolderError: a folder holds no result.
    """
    places = [as_path(each) for each in given]
    if not places:
        raise RecipeError("report", [f"RUN: missing; {_ASK}"])
    twice = next((place for number, place in enumerate(places) if place in places[:number]), None)
    if twice is not None:
        raise RecipeError("report", [f"RUN: {twice} is given twice; give each result once"])
    names = _short_names([shown(place) for place in places])
    return [_find_parts(place, name) for place, name in zip(places, names, strict=True)]


def _find_parts(place: AnyPath, name: str) -> Parts:
    check_store(place)
    if not place.is_dir():
        raise RunFolderError(f"{place} is no folder; {_ASK}")
    identity = read_identity(place, "pretrain")
    if identity is None:
        if (place / COHORT_FILE).is_file() and any(True for _ in place.glob("*.h5")):
            return Parts(name, place, None, place, None, None)  # of another tool, or of an older version
        raise RunFolderError(f"{place} is not a run folder; {_ASK}")
    command = identity.get("command", "pretrain")
    if command == "pretrain":
        run = RunFolder(place)
        run.read_info()
        evaluated = read_summary(run.evaluate) or {}
        features, unread = _folder(evaluated, "features", run.features, COHORT_FILE)
        head, unread_head = _folder(evaluated, "head", run.mil, _HEAD)
        notes = (*unread, *unread_head)
        return Parts(name, place, run, features, head, run.evaluate if evaluated else None, None, notes)
    if command == "evaluate":
        evaluated = read_summary(place) or {}
        if not evaluated:
            raise RunFolderError(
                f"the evaluation in {place} has not come to its end; type its `wsc-ray evaluate` again"
            )
        features, unread = _folder(evaluated, "features", None, COHORT_FILE)
        head, unread_head = _folder(evaluated, "head", None, _HEAD)
        return Parts(name, place, None, features, head, place, None, (*unread, *unread_head))
    if command == "predict":
        return _of_prediction(place, name)
    if (place / COHORT_FILE).is_file() and command in ("embed", "features import"):
        return Parts(name, place, None, place, None, None)
    raise RunFolderError(f"{place} holds what `wsc-ray {command}` wrote; {_ASK}")


def _of_prediction(place: AnyPath, name: str) -> Parts:
    """Return the parts of a folder of `predict`: what it embedded itself, else the feature store that it was given."""
    predicted = read_summary(place) or {}
    if not predicted:
        raise RunFolderError(f"the prediction in {place} has not come to its end; type its `wsc-ray predict` again")
    own = place / FEATURES
    features, unread = (own, ()) if (own / COHORT_FILE).is_file() else _folder(predicted, "features", None, COHORT_FILE)
    beside = RunFolder(place.parent).mil  # of the run, if that was moved
    head, unread_head = _folder(predicted, "head", beside, "")
    return Parts(name, place, None, features, head, None, place, (*unread, *unread_head))


def _folder(
    record: Mapping[str, Any], key: str, default: AnyPath | None, holds: str
) -> tuple[AnyPath | None, tuple[str, ...]]:
    """Return the folder that a record names; if that is gone (the run was moved), `default`; None if neither is there.

    Args:
        holds: a file that the folder has; "": any folder counts.

    Returns:
        The folder; and, where none is found, sentences on those that cannot be looked at.
    """
    named = record.get(key)
    notes = []
    for place in (named if isinstance(named, str) else None, default):
        if place is None:
            continue
        try:
            folder = as_path(place)
            if (folder / holds).is_file() if holds else folder.is_dir():
                return folder, ()
        except (UserError, OSError) as error:
            notes.append(unusable(place, error))
    return None, tuple(notes)


def _short_names(places: Sequence[str]) -> list[str]:
    """Return the shortest ends of the paths that differ from each other; the page escapes them."""
    parts = [[part for part in place.partition("?")[0].split("/") if part] or [place] for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(places)


def manifest_of(features: AnyPath) -> str | None:
    """Return the manifest that features were made from, as `embed` has noted; None if unknown."""
    known = (read_summary(features) or {}).get("manifest")
    return known if isinstance(known, str) else None
