"""Find and read the feature files of other tools, one for each slide.

| tool | file | datasets | coordinates |
| --- | --- | --- | --- |
| TRIDENT (https://github.com/mahmoodlab/TRIDENT) | `features_<encoder>/<slide>.h5` | `features`, `coords` | level-0 px |
| CLAM (https://github.com/mahmoodlab/CLAM) | `h5_files/<slide>.h5` | `features`, `coords` | level-0 px |
| CLAM | `pt_files/<slide>.pt` | a tensor (N, D) | none |
| STAMP (https://github.com/KatherLab/STAMP) | `<slide>.h5` | `feats`, `coords` | um; attributes `unit`, `tile_size_um`, `tile_size_px`, `extractor` |

Features become float32 and coordinates int64, level-0 px; missing coordinates become -1. Tensors are read without running
pickle's code (`weights_only=True`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import h5py
import numpy as np
import torch

from wsc_ray.errors import DataError
from wsc_ray.files import local_file
from wsc_ray.plain_yaml import quoted
from wsc_ray.storage import AnyPath

ROWS = 8192  # rows to read at a time
_SUBFOLDERS = ("h5_files", "pt_files")  # CLAM's; the first has coordinates and is preferred for slides that are in both
_KEPT = (
    "patch_size",
    "patch_size_level0",
    "overlap",
    "target_magnification",
    "mpp",  # ours
    "level0_magnification",
    "level0_width",
    "level0_height",
)

_CHECKED = frozenset(["patch_size", "patch_size_level0", "overlap", "mpp"])  # what a slide's geometry is computed from


@dataclass(frozen=True, eq=False)
class ForeignSlide:
    """A slide's features as another tool wrote them.

    Attributes:
        features: (N, D), any floats; rows are read on demand.
        coords: (N, 2) int64, level-0 px; -1 where the file has none.
        encoder: name of the encoder, if the file holds it.
        attributes: TRIDENT's attributes of the coordinates, as far as the file has them.
    """

    features: Any
    coords: np.ndarray
    encoder: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield features (n, D) float32 and coordinates (n, 2), `ROWS` at a time."""
        for start in range(0, len(self.coords), ROWS):
            rows = slice(start, start + ROWS)
            yield np.asarray(self.features[rows], np.float32), self.coords[rows]


def find_files(source: AnyPath) -> dict[str, AnyPath]:
    """Return the feature files of a folder: name without its ending -> path.

    Raises:
        DataError: the folder does not exist, or holds no feature files, or the folders of several encoders.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; name the folder that holds the slides' feature files")
    folders = [source, *(source / name for name in _SUBFOLDERS)]
    encoders = sorted(path.name for path in source.iterdir() if path.name.startswith("features_") and path.is_dir())
    files: dict[str, AnyPath] = {}
    for folder in folders:
        for suffix in (".h5", ".pt"):
            for path in folder.glob(f"*{suffix}"):
                if not path.name.startswith("."):
                    files.setdefault(path.name.removesuffix(suffix), path)
    if files:
        return files
    if len(encoders) == 1:
        return find_files(source / encoders[0])
    if encoders:
        raise DataError(
            f"{source} holds features of several encoders: {', '.join(encoders)}; name one of these folders"
        )
    raise DataError(f"{source} holds no feature files: no *.h5, and no {' or '.join(_SUBFOLDERS)} as CLAM writes them")


def find_file(files: dict[str, AnyPath], slide_id: str) -> AnyPath | None:
    """Return the file whose name is a slide's id, or the id without the ending of a slide file (`a.svs`)."""
    return files.get(slide_id) or files.get(PurePosixPath(slide_id).stem)


@contextmanager
def open_foreign(path: AnyPath, mpp: float | None) -> Iterator[ForeignSlide]:
    """Open a feature file of any of the tools.

    Args:
        mpp: um/px of the slide's level 0; None if unknown.

    Raises:
        DataError: the file cannot be read, comes from none of the tools, or has coordinates in um while `mpp` is None.
    """
    with local_file(path) as local:
        if path.suffix == ".pt":
            yield _of_tensor(local)
            return
        try:
            file = h5py.File(local, "r")
        except OSError:
            raise DataError("the file is cut short, or is not HDF5") from None
        with file:
            slide = _of_stamp(file, mpp) if "feats" in file else _of_trident(file)
            _check(slide)
            yield slide


def _check(slide: ForeignSlide) -> None:
    """Check shapes, types and attributes of a slide.

    Raises:
        DataError: they are none of features, or an attribute is no number that it can be.
    """
    shape = slide.features.shape
    if len(shape) != 2 or shape[1] == 0 or slide.coords.shape != (shape[0], 2):
        raise DataError(
            f"features of shape {shape} and coordinates of shape {slide.coords.shape}, where (N, D) and (N, 2) belong"
        )
    if slide.features.dtype.kind not in "fiu":
        raise DataError(f"features of type {slide.features.dtype}, where real numbers belong")
    for name in _CHECKED & slide.attributes.keys():
        value, least = slide.attributes[name], 0 if name == "overlap" else 1e-9
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value < float("inf"):
            raise DataError(f"its attribute `{name}` is {quoted(value)}, which it cannot be")


def _of_tensor(path: Path) -> ForeignSlide:
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError):
        raise DataError("the file is cut short, or holds something else than a tensor") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2 or tensor.shape[1] == 0:
        shape = (
            f"a tensor of shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        )
        raise DataError(f"the file holds {shape}, where a tensor (N, D) belongs")
    if tensor.is_complex():
        raise DataError(f"features of type {tensor.dtype}, where real numbers belong")
    features = tensor.detach().to(torch.float32).numpy()
    return ForeignSlide(features, np.full((len(features), 2), -1, np.int64))


def _of_trident(file: h5py.File) -> ForeignSlide:
    """Return a slide of TRIDENT's or CLAM's file."""
    missing = [name for name in ("features", "coords") if not isinstance(file.get(name), h5py.Dataset)]
    if missing:
        names = ", ".join(sorted(file)) or "nothing"
        raise DataError(f"the file lacks `{'` and `'.join(missing)}`: it holds {names}")
    coords = file["coords"]
    attributes = {name: _plain(coords.attrs[name]) for name in _KEPT if name in coords.attrs}
    encoder = _plain(file["features"].attrs.get("encoder"))
    return ForeignSlide(file["features"], _pixels(coords[:], 1.0), encoder and str(encoder), attributes)


def _of_stamp(file: h5py.File, mpp: float | None) -> ForeignSlide:
    if not isinstance(file.get("coords"), h5py.Dataset):
        raise DataError("the file lacks `coords`; features of whole slides or patients cannot be imported")
    unit = _plain(file.attrs.get("unit"))
    if unit != "um":
        raise DataError(
            f"its coordinates are in {unit or 'no known unit'}, and must be in um; extract the features anew"
        )
    if mpp is None:
        raise DataError("its coordinates are in um, and the slide's um/px are not known")
    attributes: dict[str, Any] = {"overlap": 0}
    side, px = (_plain(file.attrs.get(name)) for name in ("tile_size_um", "tile_size_px"))
    for name, value in (("tile_size_um", side), ("tile_size_px", px)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise DataError(f"its attribute `{name}` is {quoted(value)}, which it cannot be")
    if side:
        attributes["patch_size_level0"] = round(float(side) / mpp)
    if px:
        attributes["patch_size"] = int(px)
    if side and px:
        attributes["target_magnification"] = round(10 * int(px) / float(side), 2)  # 10x is 1 um/px
    encoder = _plain(file.attrs.get("extractor"))
    return ForeignSlide(file["feats"], _pixels(file["coords"][:], mpp), encoder and str(encoder), attributes)


def _pixels(coords: np.ndarray, mpp: float) -> np.ndarray:
    """Return coordinates as level-0 px, int64."""
    if not np.isfinite(coords).all():
        raise DataError("coordinates are NaN or infinite")
    return np.rint(np.asarray(coords, np.float64) / mpp).astype(np.int64)


def _plain(value: Any) -> Any:
    """Return an attribute as a type of Python."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.size == 1:  # as MATLAB and some writers of HDF5 keep a number
        value = value.reshape(-1)[0]
    return value.item() if isinstance(value, np.generic) else value
