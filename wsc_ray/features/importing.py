"""`features import`: make a feature store from feature files of other tools and a table of their slides.

Every file is read twice, first to check it and then to copy it, so that errors come before anything is written. An
interrupted command goes on with the slides that are missing.
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
class FileFacts:
    """What a slide's file holds.

    Attributes:
        patches: number of patches.
        width: width of the features.
        encoder: name of the encoder, if the file holds it.
        patch_size: side of a patch as stored, px, if the file holds it.
        located: whether patches have coordinates.
    """

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
        source: folder of files that `wsc_ray.features.foreign` describes.
        cohort: CSV, TSV or Parquet with one row for each slide: `slide_id` (or `sample_id`), `patient_id` (or `case_id`),
            `label`, `split` and other columns. `slide_id` is the name of the slide's file; files of other slides are left
            aside.
        out: the store, a folder or a URI.
        mpp: um/px of every slide's level 0, where the table has no column `mpp`; STAMP's coordinates need it.

    Returns:
        The summary, which is also in `OUT/summary.json`.

    Raises:
        ManifestError: the table cannot be read or is not a table of slides.
        DataError: files are missing or cannot be used; nothing has been written.
        RunFolderError: `out` holds something else.
    """
    source, out = as_path(source), as_path(out)
    if mpp is not None and not 0 < mpp < float("inf"):
        raise DataError(f"--mpp {mpp:g}: give um/px above 0")
    slides = _read_slides(read_user_table(str(cohort)))
    ids = slides.ids
    mpps = slides.slides[MPP].to_pylist() if MPP in slides.columns else [mpp] * len(ids)
    scales = dict(zip(ids, mpps, strict=True))
    files = find_files(source)
    paths = _paths(source, files, ids)
    facts = _check_files(source, paths, scales)
    encoders = sorted({file.encoder for file in facts.values() if file.encoder})
    sizes = sorted({file.patch_size for file in facts.values() if file.patch_size})
    width = next(iter(facts.values())).width
    identity = {
        "encoder": encoders[0] if encoders else None,
        "size": sizes[0] if len(sizes) == 1 else None,
        "width": width,
        "files": digest_of_files(paths),
        "mpp": hashlib.sha256(repr(mpps).encode()).hexdigest(),
    }
    earlier = claim_folder(COMMAND, out)
    if earlier is not None:
        refuse_other(out, "features", earlier, identity)
    counts = {slide: file.patches for slide, file in facts.items()}
    unused = len(files) - len(set(paths.values()))
    plan = {
        "source": shown(source),
        "cohort": shown(str(cohort)),
        "out": shown(out),
        "slides": len(ids),
        "patches": sum(counts.values()),
        "width": width,
        "encoder": identity["encoder"],
        "notes": _notes(facts, unused),
    }
    store = open_store(None, EXPERIMENT, out)

    def work(tracker: Tracker) -> dict[str, Any]:
        stored = stored_slides(out)
        todo = [slide for slide in ids if slide not in stored]
        with Progress(COMMAND, len(ids), unit="slides", done=len(ids) - len(todo)) as progress:
            for slide in todo:
                _copy(paths[slide], scales[slide], out, slide, facts[slide])
                progress.advance(1)
        clear_unfinished(out)
        patches = pa.array([counts[slide] for slide in ids], pa.int64())
        write_slides(out, slides.slides.append_column(PATCHES, patches))
        tracker.log_results({"patches": sum(counts.values()), "slides": len(ids)})
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
    """Return the file of each slide."""
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


def _check_files(
    source: AnyPath, paths: Mapping[str, AnyPath], scales: Mapping[str, float | None]
) -> dict[str, FileFacts]:
    """Read every file and return what each holds.

    Raises:
        DataError: files cannot be used, or differ in encoder or width.
    """
    facts: dict[str, FileFacts] = {}
    wrong: list[str] = []
    with Progress(f"{COMMAND}: check", len(paths), unit="slides") as progress:
        for slide, path in paths.items():
            try:
                facts[slide] = _check_file(path, scales[slide])
            except DataError as error:
                wrong.append(f"{path.name}: {error}")
            except (OSError, RuntimeError, ValueError, TypeError) as error:
                wrong.append(
                    f"{path.name}: cannot be read: {str(error).splitlines()[0] if str(error) else repr(error)}"
                )
            progress.advance(1)
    if wrong:
        hint = (
            "; give a column mpp in the table, or --mpp" if any("um/px are not" in reason for reason in wrong) else ""
        )
        raise DataError(
            f"{len(wrong):,} of {len(paths):,} feature files in {source} cannot be used: {listed(wrong)}{hint}"
        )
    for kind, values in (
        ("widths", {slide: file.width for slide, file in facts.items()}),
        ("encoders", {slide: file.encoder for slide, file in facts.items() if file.encoder}),
    ):
        if len(set(values.values())) > 1:
            examples = [
                f"{next(s for s, v in values.items() if v == value)} has {value}"
                for value in dict.fromkeys(values.values())
            ]
            raise DataError(
                f"features in {source} are of several {kind}: {listed(examples)}; a store is of one encoder"
            )
    return facts


def _check_file(path: AnyPath, mpp: float | None) -> FileFacts:
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
        return FileFacts(
            len(slide.coords), slide.features.shape[1], slide.encoder, size and int(size), path.suffix != ".pt"
        )


def _copy(path: AnyPath, mpp: float | None, out: AnyPath, slide_id: str, facts: FileFacts) -> None:
    attributes = {"encoder": facts.encoder} if facts.encoder else {}
    file = SlideFile(out, slide_id, facts.patches, attributes)
    try:
        with open_foreign(path, mpp) as slide:
            if not facts.patches:
                file.append(np.empty((0, facts.width), np.float32), slide.coords)
            for features, coords in slide.pieces():
                file.append(features, coords)
            file.finish(slide.attributes)
    finally:
        file.discard()


def digest_of_files(paths: Mapping[str, AnyPath]) -> str:
    """Return the SHA-256 (hex) of the names and sizes of the files."""
    sizes = [
        (slide, path.name, path.stat().st_size if isinstance(path, Path) else path.size())
        for slide, path in sorted(paths.items())
    ]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


def _notes(facts: Mapping[str, FileFacts], unused: int) -> list[str]:
    notes = []
    without = sum(not file.located for file in facts.values())
    if without:
        notes.append(f"{without:,} slides have no coordinates (.pt); these are -1 in the store")
    if unused:
        notes.append(f"{unused:,} files are of slides that the table does not list, and are left aside")
    return notes
