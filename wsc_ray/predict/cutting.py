"""How new slides are cut into patches: like the slides that the run was trained on, unless options say otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from wsc_ray.errors import DataError, ManifestError, RunFolderError
from wsc_ray.manifest import open_manifest
from wsc_ray.stage import read_identity
from wsc_ray.storage import as_path


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


def choose_cutting(manifest: str | None, **given: Any) -> Cutting:
    """Return the settings that the run's manifest was cut with, replaced by those that are given.

    Args:
        manifest: the manifest that the run was trained on; None if unknown.
        given: fields of `Cutting`; None leaves a field as in the run's manifest.

    Raises:
        DataError: the scale or the size of the patches is neither given nor known.
    """
    known = _of_manifest(manifest) if manifest is not None else {}
    values = known | {name: value for name, value in given.items() if value is not None}
    missing = [option for name, option in (("mpp", "--mpp"), ("patch_size", "--patch-size")) if not values.get(name)]
    if missing:
        where = f"{manifest} does not say it" if manifest else "no manifest of the run is known"
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
