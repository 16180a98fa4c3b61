"""The pixels behind features, read from a slide's file, its preview, or the patches of the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from wsc_ray.errors import DataError, UserError
from wsc_ray.feature_files.files import COORDS, open_slide
from wsc_ray.files import is_file_name, local_file
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.neighbours.contact_sheet import Place, find_images
from wsc_ray.report.collect import Facts
from wsc_ray.report.pictures import SIDE, Frame
from wsc_ray.report.places import MANIFEST, manifest_of
from wsc_ray.slides.coords import coords_path, preview_path
from wsc_ray.slides.open_slides import OpenSlides
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown

MOSAIC = 1000  # largest number of patches in the mosaic of a slide


class Originals:
    """Pictures of slides and patches, as far as they can be found through a manifest.

    Args:
        manifest: the manifest of the features; None if it is unknown or gone, and then there are no pictures.
        absent: why there is no manifest.

    Attributes:
        problem: why patches of a slide could not be read, the first time that this happened; None if all could.
    """

    def __init__(self, manifest: Manifest | None, absent: str = ""):
        self._manifest = manifest
        self._absent = absent
        self._slides = OpenSlides(kept=1)
        self._uris: dict[str, str] = {}
        self.problem: str | None = None
        if manifest is not None:
            cohort = manifest.cohort()
            if "slide_uri" in cohort.columns:
                found = zip(cohort.ids, cohort.texts("slide_uri"), strict=True)
                self._uris = {slide: uri for slide, uri in found if uri is not None}

    @property
    def known(self) -> bool:
        """Whether there is a manifest."""
        return self._manifest is not None

    def close(self) -> None:
        """Close the slide that is still open."""
        self._slides.close()

    def whole(self, slide_id: str, frame: Frame) -> np.ndarray | None:
        """Return the frame of a slide, (h, w, 3) uint8, some hundred px wide, from its file or its preview; None if neither can be read."""
        if self._manifest is None or not is_file_name(slide_id):
            return None
        return self._of_file(slide_id, frame) if slide_id in self._uris else self._of_preview(slide_id, frame)

    def patches(self, slide_id: str, coords: Sequence[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """Return the images of patches by their corners; patches that cannot be read are left out."""
        if self._manifest is None or not coords:
            self.problem = self.problem or (self._absent if coords else None)
            return {}
        wanted: list[Place] = [(slide_id, x, y) for x, y in coords]
        try:
            found = {(x, y): image for (_, x, y), image in find_images(self._manifest, wanted).items()}
        except UserError as error:
            self.problem = self.problem or str(error)
            return {}
        lacking = len(set(coords)) - len(found)
        if lacking:
            self.problem = self.problem or (
                f"{lacking:,} of {len(set(coords)):,} patches of slide {slide_id} are not in {shown(self._manifest.uri)}, or cannot be "
                "read from it"
            )
        return found

    def _of_file(self, slide_id: str, frame: Frame) -> np.ndarray | None:
        assert self._manifest is not None
        uri, folder = self._uris[slide_id].removeprefix("file://"), self._manifest.folder
        if "://" in uri:
            return self._of_preview(slide_id, frame)
        try:
            with self._slides.slide(Path(folder, uri)) as slide:
                wanted = max(1.0, max(frame.width, frame.height) / SIDE)
                levels = [n for n, down in enumerate(slide.downsamples) if down <= wanted and math.isfinite(down)]
                level = max(levels, key=lambda n: slide.downsamples[n])
                down = slide.downsamples[level]
                if (
                    frame.width * frame.height / down**2 > 2**26
                ):  # no pyramid: reading its preview or its patches is faster
                    return self._of_preview(slide_id, frame)
                width, height = max(1, round(frame.width / down)), max(1, round(frame.height / down))
                return slide.read(frame.x, frame.y, level, width, height)
        except (DataError, OSError):
            return self._of_preview(slide_id, frame)

    def _of_preview(self, slide_id: str, frame: Frame) -> np.ndarray | None:
        """Return the frame from the slide's picture in `previews/`, which also shows the outlines of the kept patches."""
        assert self._manifest is not None
        folder = as_path(self._manifest.uri)
        try:
            with local_file(coords_path(folder, slide_id)) as local, h5py.File(local, "r") as file:
                width = int(file[COORDS].attrs["level0_width"])
            with local_file(preview_path(folder, slide_id)) as local, Image.open(local) as picture:
                scale = picture.width / width
                corners = (frame.x, frame.y, frame.x + frame.width, frame.y + frame.height)
                left, top, right, bottom = (round(each * scale) for each in corners)
                box = (left, top, max(left + 1, right), max(top + 1, bottom))
                return np.asarray(picture.convert("RGB").crop(box))
        except (OSError, KeyError, ValueError, TypeError, Image.DecompressionBombError):
            return None


def open_originals(results: Sequence[Facts]) -> dict[str, Originals]:
    """Return the pixels behind each result's features, by the names of results; results of one manifest share them."""
    digests = {each.name: _text(each.embedded_by.get("manifest")) for each in results}
    uris = {each.name: None if each.parts.features is None else manifest_of(each.parts.features) for each in results}
    # A prediction of slides that was moved has the patches that it cut beside it.
    places_cut = {each.name: each.parts.prediction / MANIFEST for each in results if each.parts.prediction is not None}
    cut = {name: str(place) for name, place in places_cut.items() if place.is_dir()}
    # Without a digest nothing tells whether a prediction's own patches are those of another result.
    sharing: dict[str | tuple[str | None, str | None], list[str]] = {}
    for name in uris:
        sharing.setdefault(digests[name] or (uris[name], cut.get(name)), []).append(name)
    opened: dict[str, Originals] = {}
    for names in sharing.values():
        places = dict.fromkeys(uri for name in names if (uri := uris[name]) is not None)
        places |= dict.fromkeys(cut[name] for name in names if name in cut)
        opened.update(dict.fromkeys(names, _open(list(places), digests[names[0]])))
    return opened


def _open(uris: Sequence[str], digest: str | None) -> Originals:
    """Return the pixels of the first manifest that can be opened and has this digest (None: any); without one, why the first cannot be."""
    absent = []
    for uri in uris:
        try:
            manifest = open_manifest(uri, labelled=False)
            if digest in (None, manifest.digest):
                return Originals(manifest)
            absent.append(f"{shown(uri)} has changed since the features were made of it")
        except (UserError, OSError) as error:
            absent.append(str(error))
    return Originals(None, absent[0] if absent else "the features do not say which manifest they were made of")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def patch_side(features: AnyPath, slide_id: str) -> int | None:
    """Return the side of a slide's patches in level-0 px; None if its feature file does not give it."""
    try:
        with open_slide(features, slide_id) as file:
            return int(file[COORDS].attrs["patch_size_level0"])
    except (UserError, KeyError, ValueError, TypeError):
        return None
