"""The command: every slide of a manifest through the frozen encoder, one file a slide."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsc_ray.encoders import IMAGENET, exported_name, exported_statistics, load_exported
from wsc_ray.encoders.weights import WEIGHTS
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.features.store import SlideFeatures, slide_path, stored_slides, write_slide, write_slides
from wsc_ray.files import local_file
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.manifest.schema import OPTIONAL, REQUIRED
from wsc_ray.progress import Progress
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown


def embed_slides(
    *,
    run: str | Path | None = None,
    encoder: str | Path | None = None,
    manifest: str | None = None,
    out: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Write the features of every slide; slides that are there already are left out.

    Args:
        run: the run folder, from which everything below is taken where it is not given.
        encoder: folder of an exported encoder (`RUN/encoder`).
        manifest: of the patches (`data.manifest`); another cohort may be embedded.
        out: where the features go (`RUN/features`).
        recipe, overrides: of these, `embed` and `tracking` are used.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    encoder, out = resolve_paths(
        "embed", encoder=(encoder, folder and folder.encoder), out=(out, folder and folder.features)
    )
    source = manifest or recipe.data.manifest
    if source is None:
        raise RecipeError("embed", ["--manifest: missing; give it or --run"])
    _, config = load_exported(encoder)
    size = recipe.embed.size or config["pretrained_cfg"]["input_size"][-1]
    patches = open_manifest(source)
    slides = _Slides(patches, source)
    identity = {
        "encoder": _file_digest(encoder / WEIGHTS),
        "size": size,
        "pixels": exported_statistics(config).to_json(),
        "manifest": patches.digest,
    }
    known = claim_folder("embed", out)
    if known is not None:
        # Before it was kept, all pixels were normalised with ImageNet's.
        refuse_other(out, "features", {"pixels": IMAGENET.to_json(), **known}, identity)
    stored = stored_slides(out)
    todo = [slide for slide in slides.ids if slide not in stored]
    groups = slides.groups_of(todo)
    plan = {
        "manifest": source,
        "encoder": shown(encoder),
        "architecture": exported_name(config),
        "size": size,
        "out": shown(out),
        "slides": len(slides.ids),
        "slides_there": len(slides.ids) - len(todo),
        "patches": slides.table.num_rows,
    }
    if dry_run:
        return plan
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, out, *([folder.path] if folder else []))

    def work(tracker: Tracker) -> dict[str, Any]:
        started = time.time()
        tracker.log_dataset(name=as_path(source).name, digest=patches.digest, source=source, context="inference")
        count = _write(slides, todo, groups, patches, recipe, encoder, size, out, config) if todo else 0
        for slide in set(slides.without) - stored:
            _write_empty(slide, out, config)
        write_slides(out, slides.summary())
        seconds = time.time() - started
        rate = count / seconds if count else None
        tracker.log_metrics({"patches": count, "seconds": seconds, "patches_per_second": rate or 0.0})
        return {"patches_embedded": count, "patches_per_second": rate}

    params = {**plan, "batch_size": recipe.embed.batch_size}
    return carry_out("embed", out=out, identity=identity, plan=plan, params=params, store=store, work=work)


def _write(slides, todo, groups, patches, recipe, encoder, size, out, config) -> int:
    """Embed the slides in `todo` and write each as soon as its last patch is through; patches embedded."""
    from wsc_ray.features.ray_data import encoded
    from wsc_ray.ray_session import ray_session

    waiting = set(todo)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    total = sum(slides.size(slide) for slide in todo)
    with ray_session(), Progress("embed", total, unit="patches") as progress:
        stream = encoded(
            patches,
            groups,
            encoder=encoder,
            size=size,
            batch_size=recipe.embed.batch_size,
            workers=recipe.embed.workers,
            retries=recipe.stream.retries,
        )
        for rows, features in _by_slide(stream, slides.slide_of_row):
            slide = slides.ids[slides.slide_of_row[rows[0]]]
            if slide not in waiting:  # a row group may hold slides that are there already
                continue
            parts.setdefault(slide, []).append((rows, features))
            progress.advance(len(rows), f"{len(todo) - len(waiting):,} of {len(todo):,} slides")
            if sum(len(part) for part, _ in parts[slide]) == slides.size(slide):
                _write_one(slides, slide, parts.pop(slide), out, config)
                waiting.remove(slide)
    assert not waiting, f"{len(waiting)} slides did not come through"
    return total


def _by_slide(stream: Iterator[dict], slide_of_row: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut batches where the slide changes: rows (n,) and features (n, d) of one slide at a time."""
    for batch in stream:
        owners = slide_of_row[batch["row"]]
        cuts = np.flatnonzero(np.diff(owners)) + 1
        yield from zip(np.split(batch["row"], cuts), np.split(batch["feature"], cuts), strict=True)


def _write_one(
    slides: _Slides, slide: str, parts: list[tuple[np.ndarray, np.ndarray]], out: AnyPath, config: dict
) -> None:
    rows = np.concatenate([rows for rows, _ in parts])
    features = np.concatenate([features for _, features in parts])
    table = slides.table.take(rows)
    coords = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    first = table.slice(0, 1).to_pylist()[0]
    attributes: dict[str, Any] = {"overlap": 0}
    if first.get("patch_size"):
        attributes["patch_size"] = first["patch_size"]
        if first.get("level") == 0:
            attributes["patch_size_level0"] = first["patch_size"]
    if first.get("patch_size_level0"):
        attributes["patch_size_level0"] = first["patch_size_level0"]
        attributes["overlap"] = _overlap(coords, first["patch_size_level0"], first.get("patch_size") or 0)
    if first.get("mpp"):
        attributes["target_magnification"] = round(10 / first["mpp"], 2)  # 10x is 1 um/px by the usual convention
    label = None
    if "patch_label" in table.column_names:
        label = table["patch_label"].fill_null(-1).to_numpy()
    write_slide(
        out,
        SlideFeatures(slide, features, coords, label),
        attributes={"encoder": exported_name(config)},
        coords_attributes=attributes,
    )


def _write_empty(slide: str, out: AnyPath, config: dict) -> None:
    """A slide without patches has a file too, as TRIDENT writes it: shapes (0, D) and (0, 2)."""
    features = np.empty((0, config["num_features"]), np.float32)
    write_slide(
        out,
        SlideFeatures(slide, features, np.empty((0, 2), np.int64)),
        attributes={"encoder": exported_name(config)},
        coords_attributes={"overlap": 0},
    )


def _overlap(coords: np.ndarray, size_level0: int, size: int) -> int:
    """How much neighbouring patches share, px as stored, told from where they lie: from the most frequent distance of two
    that follow each other in a row, since a slide's pieces may have grids of their own.

    Args:
        coords: (n, 2) int64, level-0 px.
        size_level0, size: side of a patch, px at level 0 and as stored.
    """
    x, y = coords[np.lexsort(coords.T)].T
    steps, counts = np.unique(np.diff(x)[np.diff(y) == 0], return_counts=True)
    step = int(steps[counts.argmax()]) if len(steps) else size_level0
    return max(0, round((size_level0 - step) * size / size_level0))


class _Slides:
    """The manifest's rows without their pixels, grouped by slide."""

    def __init__(self, manifest: Manifest, source: str):
        wanted = [*REQUIRED.names, *OPTIONAL.names]
        self.table: pa.Table = manifest.read_rows([name for name in wanted if name in manifest.columns])
        if self.table.num_rows == 0:
            raise DataError(f"{source} holds no patches")
        coded = self.table["slide_id"].combine_chunks()
        self.ids: list[str] = coded.dictionary.to_pylist()
        self.cohort = manifest.cohort()
        self.slide_of_row: np.ndarray = coded.indices.to_numpy()
        self.sizes = np.bincount(self.slide_of_row, minlength=len(self.ids))
        self.index = {slide: number for number, slide in enumerate(self.ids)}
        self.groups = [(group.file, group.row_group, group.rows) for group in manifest.row_groups]
        for slide in self.ids:
            slide_path(Path(), slide)  # an id that cannot be a file name is said before anything is written

    def size(self, slide: str) -> int:
        return int(self.sizes[self.index[slide]])

    def groups_of(self, slides: Sequence[str]) -> list[tuple[int, int, int]]:
        """The row groups that hold any of `slides`: file, row group, number of the first row in the manifest."""
        wanted = np.isin(self.slide_of_row, [self.index[slide] for slide in slides])
        starts = np.concatenate([[0], np.cumsum([rows for *_, rows in self.groups])])
        return [
            (file, row_group, int(start))
            for (file, row_group, rows), start in zip(self.groups, starts, strict=False)
            if wanted[start : start + rows].any()
        ]

    @property
    def without(self) -> list[str]:
        """Slides of the cohort that have no patch."""
        return [slide for slide in self.cohort.texts("slide_id") if slide not in self.index]

    def summary(self) -> pa.Table:
        """The cohort with `patches`, how many a slide has."""
        counts = [self.size(slide) if slide in self.index else 0 for slide in self.cohort.texts("slide_id")]
        return self.cohort.slides.append_column("patches", pa.array(counts, pa.int64()))


def _file_digest(path: AnyPath) -> str:
    with local_file(path) as local, local.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
