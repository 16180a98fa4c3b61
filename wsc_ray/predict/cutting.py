"""How new slides are cut into patches: like the slides of the features that the head was fitted to, unless options say otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.errors import DataError, ManifestError, RunFolderError, UserError
from wsc_ray.feature_files.files import UNREADABLE, read_slides, slide_path
from wsc_ray.features.foreign import open_foreign
from wsc_ray.files import read_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.predict.head import Head
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.slides.scale import TOLERANCE
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath, as_path


@dataclass(frozen=True)
class Cutting:
    """The settings of `tile` that determine which patches are cut, and their pixels; see `tile_slides`."""

    mpp: float
    patch_size: int
    overlap: int = 0
    tissue: float = 0.5
    reader: str = "auto"
    quality: int = 90
    link: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return the settings as arguments of `tile_slides`."""
        return asdict(self)


def manifest_of_features(head: Head, run: RunFolder | None, recipe: Recipe) -> str | None:
    """Return the manifest whose patches the head's features are of, which need not be the one that the run's encoder was trained on.

    Where the features name another than the recipe does, the recipe's counts only if it holds the same patches: the manifest has moved.
    Where a head of other features than the run's does not say of which, no manifest is known.
    """
    features, given = head.features, recipe.data.manifest
    if features is None:
        elsewhere = run is not None and (run.features / COHORT_FILE).is_file()  # then the head is not of these
        return None if elsewhere else given
    named = (read_summary(features) or {}).get("manifest")
    if not isinstance(named, str) or named == given:
        return given
    try:
        digest = (read_identity(features, "embed") or {}).get("manifest")
        moved = given is not None and open_manifest(given, labelled=False).digest == digest
    except UserError:
        moved = False
    return given if moved else named


def compare_with_features(cutting: Cutting, features: AnyPath) -> tuple[str, ...]:
    """Return a note if the patches differ in scale or size from those that features are of, as far as the first slide's file says it."""
    try:
        cohort = read_slides(features)
        first = next(s for s, n in zip(cohort.ids, cohort.slides["patches"].to_pylist(), strict=True) if n)
        with open_foreign(slide_path(features, first), None) as slide:
            made = {name: slide.attributes[name] for name in ("mpp", "patch_size") if slide.attributes.get(name)}
    except (UserError, StopIteration, FileNotFoundError, *UNREADABLE):
        return ()
    mpp, size = float(made.get("mpp", cutting.mpp)), int(made.get("patch_size", cutting.patch_size))
    if abs(mpp - cutting.mpp) <= TOLERANCE * mpp and size == cutting.patch_size:
        return ()
    return (
        f"slides are cut into patches of {cutting.patch_size} px at {cutting.mpp:.3g} um/px, and the head's features are of patches of "
        f"{size} px at {mpp:.3g} um/px; the head may be wrong about them",
    )


def choose_cutting(manifest: str | None, **given: Any) -> Cutting:
    """Return the settings that a manifest was cut with, replaced by those that are given.

    Args:
        manifest: the manifest of the head's features; None if unknown.
        given: fields of `Cutting`; None leaves a field as in that manifest.

    Raises:
        DataError: the scale or the size of the patches is neither given nor known.
    """
    known = _of_manifest(manifest) if manifest is not None else {}
    values = known | {name: value for name, value in given.items() if value is not None}
    missing = [option for name, option in (("mpp", "--mpp"), ("patch_size", "--patch-size")) if not values.get(name)]
    if missing:
        where = f"{manifest} does not say it" if manifest else "no manifest of the head's features is known"
        raise DataError(f"{' and '.join(missing)}: give the scale and the size of the patches, {where}")
    return Cutting(**values)


def _of_manifest(uri: str) -> dict[str, Any]:
    """Return the settings that a manifest was cut with: all of them if `tile` wrote it, else the scale and size of its first patch."""
    place = as_path(uri)
    try:
        tiled = read_identity(place, "tile") or {}
        if tiled.get("command") == "tile" and {"mpp", "size"} <= tiled.keys():
            names = ("mpp", "overlap", "tissue", "reader")
            found = {name: tiled[name] for name in names if name in tiled} | {"patch_size": tiled["size"]}
            if not isinstance(found["mpp"], int | float):  # several scales: which one is meant is unknown
                del found["mpp"]
            quality = tiled.get("quality", Cutting.quality)
            return found | ({"link": True} if quality is None else {"quality": quality})
        patches = open_manifest(uri, labelled=False)
        first = next(iter(patches.row_groups))
        row = patches.read_group(first.file, first.row_group, ["patch_size", "mpp"]).slice(0, 1).to_pylist()[0]
        return {name: value for name, value in row.items() if value}
    except (ManifestError, DataError, RunFolderError, StopIteration):
        return {}  # the manifest has moved or was deleted
