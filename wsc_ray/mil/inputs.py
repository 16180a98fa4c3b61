"""Where `tune` and `evaluate` read and write, and which slides they may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.files import read_json
from wsc_ray.mil.bags import class_order, slides_of
from wsc_ray.mil.folds import patient_split
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path, check_store

EMBED = "embed.json"  # of a feature folder: the digest of the encoder it is by, and the size of patches


def run_and_recipe(
    run: str | Path | None, recipe: str | Path | Recipe | None, overrides: Sequence[str]
) -> tuple[RunFolder | None, Recipe]:
    """The run folder, if one is named, and the recipe: the one given, else the run's own.

    Raises:
        RunFolderError: `run` is no run folder.
        RecipeError: the recipe is wrong.
    """
    folder = RunFolder(run) if run is not None else None
    if folder is not None:
        folder.read_info()
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe if recipe is not None else folder.recipe if folder else None, overrides)
    return folder, recipe


def places(command: str, **options: tuple[str | AnyPath | None, AnyPath | None]) -> list[AnyPath]:
    """The folder that each option names, else its place in the run folder.

    Args:
        options: by name, what was given and the default.

    Raises:
        RecipeError: options that have neither, all of them listed.
    """
    missing = [name for name, values in options.items() if values == (None, None)]
    if missing:
        raise RecipeError(command, [f"--{name}: missing; give it or --run" for name in missing])
    return [as_path(given) if given is not None else default for given, default in options.values()]


def claim(out: AnyPath, mark: str, own: Iterable[str] = ()) -> None:
    """Refuse an output folder with other things in it, so that nothing of anyone else's is overwritten.

    Args:
        mark: a file that says the folder is this command's.
        own: names that this command may leave before it writes the mark.

    Raises:
        RunFolderError: the folder is taken, or is a file.
    """
    check_store(out)
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; give a folder with --out")
    if not out.is_dir() or (out / mark).is_file():
        return
    foreign = sorted(path.name for path in out.iterdir() if path.name not in set(own) and path.name[0] != ".")
    if foreign:
        raise RunFolderError(f"{out} is taken ({', '.join(foreign[:3])}); give a new or empty folder with --out")


def fitting_slides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], pa.Table, pa.Table]:
    """Classes in order, and the slides to fit and to validate on; slides of other splits are not looked at.

    Validation slides are those of `data.val_split`, or some patients of `data.train_split` where there are none.
    Slides without patches stay in the tables (to be counted) but sway no split.

    Raises:
        DataError: no training slides, a label that the recipe does not know, a class missing on a side, or a patient
            on both.
    """
    data = recipe.data
    train, val = slides_of(slides, data.train_split), slides_of(slides, data.val_split)
    if not train.num_rows:
        raise DataError(f"no slide is in split `{data.train_split}`; there is nothing to fit a head to")
    classes = class_order(_labels(train), data.pure)
    unknown = set(classes) - set(data.pure) - set(data.mixed) if data.mixed is not None else set()
    if unknown:
        raise DataError(f"label {', '.join(sorted(unknown))} is neither in data.pure nor in data.mixed")
    if not val.num_rows:
        full = train.filter(pc.greater(train["patches"], 0))
        mask = patient_split(_patients(full), _labels(full), fraction=recipe.tune.val_fraction, seed=recipe.seed)
        chosen = {patient for patient, inside in zip(_patients(full), mask, strict=True) if inside}
        inside = pa.array([patient in chosen for patient in _patients(train)])
        return classes, train.filter(pc.invert(inside)), train.filter(inside)
    refuse_shared(train, val, data.train_split, data.val_split)
    found = set(_labels(val))
    for label in sorted(found ^ set(classes)):
        there, lacking = (data.val_split, data.train_split) if label in found else (data.train_split, data.val_split)
        raise DataError(
            f"label {label} is in split `{there}` and not in `{lacking}`; choosing a head needs every label in both"
        )
    return classes, train, val


def refuse_shared(one: pa.Table, other: pa.Table, name: str, other_name: str) -> None:
    """Raise a `DataError` where a patient has slides in both tables."""
    both = sorted(set(_patients(one)) & set(_patients(other)))
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise DataError(
            f"patient {both[0]}{more} has slides in split `{name}` and in split `{other_name}`; keep each in one"
        )


def encoder_of(features: AnyPath) -> dict[str, Any] | None:
    """What the features were made by (encoder digest and patch size), None where the folder does not say."""
    try:
        known = read_json(features / EMBED)
        return {name: known[name] for name in ("encoder", "size")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _patients(slides: pa.Table) -> list[str]:
    return slides["patient_id"].to_pylist()


def _labels(slides: pa.Table) -> list[str]:
    """Labels of the slides that have patches."""
    return slides.filter(pc.greater(slides["patches"], 0))["label"].to_pylist()
