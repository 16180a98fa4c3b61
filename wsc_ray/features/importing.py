"""The command: feature files of other tools, and a table of their slides, become a feature store.

Every file is read twice, to check it and to write it, so that an error about a wrong one comes before anything is
written. What was interrupted goes on with the slides that are missing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsc_ray.cohort.cohort import PATCHES, Cohort, make_cohort
from wsc_ray.cohort.overlay import ALIASES
from wsc_ray.cohort.problems import find_problems, listed
from wsc_ray.cohort.tables import UserTable, choose_column, read_user_table
from wsc_ray.cohort.values import as_number
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.features.foreign import find_file, find_files, open_foreign
from wsc_ray.features.store import SlideFile, clear_unfinished, stored_slides, write_slides
from wsc_ray.progress import Progress
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other
from wsc_ray.storage import AnyPath, as_path, shown
from wsc_ray.tracking import Tracker

COMMAND = "features import"
EXPERIMENT = "wsc-ray"
MPP = "mpp"


@dataclass(frozen=True)
class Found:
    """What a file was found to hold."""

    patches: int
    width: int
    encoder: str | None
    patch_size: int | None
    located: bool


def import_features(
    *, source: str | Path, cohort: str | Path, out: str | Path, mpp: float | None = None
) -> dict[str, Any]:
    """Write a feature store, `<slide>.h5` and `slides.parquet`, from another tool's files.

    Args:
        source: folder of files as `wsc_ray.features.foreign` lists them.
        cohort: CSV, TSV or Parquet with a row a slide: `slide_id` (also `sample_id`) and `patient_id` (also `case_id`), `label`, `split` and
            other columns. A slide's file is called by its `slide_id`; files of other slides are left aside.
        out: the store, a folder or a URI.
        mpp: um/px of every slide's level 0, where the table has no column `mpp`; STAMP's coordinates need it.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        ManifestError: the table cannot be read or is no table of slides.
        DataError: files are missing or cannot be used; nothing has been written.
        RunFolderError: `out` is taken.
    """
    source, out = as_path(source), as_path(out)
    if mpp is not None and not 0 < mpp < float("inf"):
        raise DataError(f"--mpp {mpp:g}: give um/px above 0")
    slides = _read_slides(read_user_table(str(cohort)))
    ids = slides.ids
    known_scales = slides.slides[MPP].to_pylist() if MPP in slides.columns else [mpp] * len(ids)
    scales = dict(zip(ids, known_scales, strict=True))
    files = find_files(source)
    paths = _paths(source, files, ids)
    found = _look(source, paths, scales)
    encoders = sorted({each.encoder for each in found.values() if each.encoder})
    sizes = sorted({each.patch_size for each in found.values() if each.patch_size})
    width = next(iter(found.values())).width
    identity = {
        "encoder": encoders[0] if encoders else None,
        "size": sizes[0] if len(sizes) == 1 else None,
        "width": width,
        "files": digest_of_files(paths),
        "mpp": hashlib.sha256(repr(known_scales).encode()).hexdigest(),
    }
    known = claim_folder(COMMAND, out)
    if known is not None:
        refuse_other(out, "features", known, identity)
    counts = {slide: each.patches for slide, each in found.items()}
    unused = len(files) - len(set(paths.values()))
    plan = {
        "source": shown(source),
        "cohort": shown(str(cohort)),
        "out": shown(out),
        "slides": len(ids),
        "patches": sum(counts.values()),
        "width": width,
        "encoder": identity["encoder"],
        "notes": _notes(found, unused),
    }
    store = open_store(None, EXPERIMENT, out)

    def work(tracker: Tracker) -> dict[str, Any]:
        todo = [slide for slide in ids if slide not in stored_slides(out)]
        with Progress(COMMAND, len(ids), unit="slides", done=len(ids) - len(todo)) as progress:
            for slide in todo:
                _copy(paths[slide], scales[slide], out, slide, found[slide])
                progress.advance(1)
        clear_unfinished(out)
        patches = pa.array([counts[slide] for slide in ids], pa.int64())
        write_slides(out, slides.slides.append_column(PATCHES, patches))
        tracker.log_metrics({"patches": sum(counts.values()), "slides": len(ids)})
        return {"slides_written": len(todo)}

    return carry_out(COMMAND, out=out, identity=identity, plan=plan, params=plan, store=store, work=work)


def _read_slides(table: UserTable) -> Cohort:
    names = {}
    for name, others in ALIASES.items():
        column, hint = choose_column(table.names, name, others)
        if column is None:
            raise ManifestError(f"{table.source} has no column `{name}`{hint}")
        names[column] = name
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for column in table.names:
        name = names.get(column, column)
        if name == MPP:
            columns[name] = _scales(table, column)
        elif name != PATCHES:
            columns[name] = pa.array(table.texts(column, label=column not in names), pa.string())
    slides = pa.table(columns)
    problems = find_problems(slides)
    if problems:
        raise ManifestError(f"{table.source}: {'; '.join(problems)}")
    return make_cohort(slides, table.source)


def _scales(table: UserTable, column: str) -> pa.ChunkedArray:
    try:
        scales = as_number(table.columns[column], pa.float32())
    except pa.ArrowException as error:
        raise ManifestError(f"{table.source}: column `{column}`: {str(error).splitlines()[0]}; give um/px") from None
    wrong = [row for row, scale in enumerate(scales.to_pylist()) if scale is not None and not 0 < scale < float("inf")]
    if wrong:
        raise ManifestError(
            f"{table.source}: column `{column}` is not above 0 in {listed([table.where(r) for r in wrong])}"
        )
    return scales


def _paths(source: AnyPath, files: Mapping[str, AnyPath], ids: Sequence[str]) -> dict[str, AnyPath]:
    """The file of each slide."""
    paths = {slide: find_file(dict(files), slide) for slide in ids}
    missing = [slide for slide, path in paths.items() if path is None]
    if missing:
        raise DataError(
            f"{source} lacks the files of {len(missing):,} of {len(ids):,} slides: {listed(missing)}; it holds {listed(sorted(files))}"
        )
    users = Counter(paths.values())
    several = [slide for slide, path in paths.items() if users[path] > 1]
    if several:
        raise DataError(f"{source} has one file for several slides: {listed(several)}")
    return {slide: path for slide, path in paths.items() if path is not None}


def _look(source: AnyPath, paths: Mapping[str, AnyPath], scales: Mapping[str, float | None]) -> dict[str, Found]:
    """Read every file.

    Raises:
        DataError: files that cannot be used, or that do not go together.
    """
    found: dict[str, Found] = {}
    wrong: list[str] = []
    with Progress(f"{COMMAND}: check", len(paths), unit="slides") as progress:
        for slide, path in paths.items():
            try:
                found[slide] = _look_at(path, scales[slide])
            except DataError as error:
                wrong.append(f"{path.name}: {error}")
            except (OSError, RuntimeError, ValueError, TypeError) as error:
                wrong.append(f"{path.name}: cannot be read: {str(error).splitlines()[0] if str(error) else error!r}")
            progress.advance(1)
    if wrong:
        hint = "; give a column mpp in the table, or --mpp" if any("um/px are not" in each for each in wrong) else ""
        raise DataError(
            f"{len(wrong):,} of {len(paths):,} feature files in {source} cannot be used: {listed(wrong)}{hint}"
        )
    for what, values in (
        ("widths", {slide: each.width for slide, each in found.items()}),
        ("encoders", {slide: each.encoder for slide, each in found.items() if each.encoder}),
    ):
        if len(set(values.values())) > 1:
            told = [
                f"{next(s for s, v in values.items() if v == value)} has {value}"
                for value in dict.fromkeys(values.values())
            ]
            raise DataError(f"features in {source} are of several {what}: {listed(told)}; a store is of one encoder")
    return found


def _look_at(path: AnyPath, mpp: float | None) -> Found:
    with open_foreign(path, mpp) as slide:
        row = 0
        for features, _ in slide.pieces():
            bad = ~np.isfinite(features).all(axis=1)
            if bad.any():
                raise DataError(
                    f"features are NaN or infinite in {bad.sum():,} rows or more, first row {row + int(bad.argmax())}"
                )
            row += len(features)
        size = slide.attributes.get("patch_size")
        return Found(
            len(slide.coords), slide.features.shape[1], slide.encoder, size and int(size), path.suffix != ".pt"
        )


def _copy(path: AnyPath, mpp: float | None, out: AnyPath, slide_id: str, found: Found) -> None:
    attributes = {"encoder": found.encoder} if found.encoder else {}
    file = SlideFile(out, slide_id, found.patches, attributes)
    try:
        with open_foreign(path, mpp) as slide:
            if not found.patches:
                file.append(np.empty((0, found.width), np.float32), slide.coords)
            for features, coords in slide.pieces():
                file.append(features, coords)
            file.finish(slide.attributes)
    finally:
        file.discard()


def digest_of_files(paths: Mapping[str, AnyPath]) -> str:
    """SHA-256 (hex) of which files there are, and how large they are."""
    sizes = [
        (slide, path.name, path.stat().st_size if isinstance(path, Path) else path.size())
        for slide, path in sorted(paths.items())
    ]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


def _notes(found: Mapping[str, Found], unused: int) -> list[str]:
    notes = []
    blind = sum(not each.located for each in found.values())
    if blind:
        notes.append(f"{blind:,} slides came without coordinates (.pt); they are -1")
    if unused:
        notes.append(f"{unused:,} files are of slides that the table does not list, and are left aside")
    return notes
