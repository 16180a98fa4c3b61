"""Open a manifest: read its footers, and its rows only on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from wsc_ray import storage
from wsc_ray.cohort import COHORT_FILE, Cohort, read_cohort
from wsc_ray.cohort.cohort import PATIENT, SLIDE, make_cohort
from wsc_ray.cohort.problems import find_problems
from wsc_ray.cohort.values import as_text
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.manifest import footers
from wsc_ray.manifest.footers import Footer, RowGroup
from wsc_ray.manifest.runs import FileRuns, Runs, join_runs, runs_of_rows
from wsc_ray.manifest.schema import COLUMNS, PIXELS, SLIDE_COLUMNS, conform, missing_columns
from wsc_ray.manifest.slides_of_rows import slides_of_rows

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_THREADS = 16  # footers wait for storage more than for a core
_IMPORT = "`wsc-ray manifest import` writes it anew as a manifest"


class Manifest:
    """A manifest of patches. It pickles as names only: files are opened where they are read, such as in a Ray task.

    Attributes:
        uri: its path or URI; a local path is made absolute, since a Ray task works in another folder.
        files: paths of its Parquet files on `filesystem`, in order; `RowGroup.file` is an index into them.
        columns: the manifest's columns that every file has.
        digest: SHA-256 (hex) of its patches and of how they are divided into row groups. In format 1 it covers patient,
            label and split of slides, too; in format 2 the cohort has a digest of its own.
        rows_describe_slides: whether rows repeat patient, label and split of their slides, as in format 1 and in tables
            of other programs.
    """

    def __init__(self, uri: str, files: Sequence[str], read: Sequence[Footer]):
        self.uri = uri
        self.files = tuple(files)
        self.columns = tuple(name for name in COLUMNS.names if all(name in footer.columns for footer in read))
        self.digest = footers.join_digests(footer.digest for footer in read)
        self.rows_describe_slides = any(footer.rows_describe_slides for footer in read)
        self._footers: tuple[Footer, ...] | None = tuple(read)
        self._row_groups: tuple[RowGroup, ...] | None = None
        self._runs: Runs | None = None

    def __repr__(self) -> str:
        return f"Manifest({self.uri!r}, {len(self.files)} files, digest {self.digest[:12]})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_footers": None, "_row_groups": None, "_runs": None}

    @property
    def filesystem(self) -> fs.FileSystem:
        return _filesystem(self.uri)[0]

    @property
    def folder(self) -> str:
        """The path or URI where relative image URIs start: the manifest's folder, or that of its single file."""
        return storage.parent(self.uri) if self.files == (_filesystem(self.uri)[1],) else self.uri

    @property
    def pixels(self) -> str:
        """The column that holds or locates the pixels: `image`, `image_uri` or `slide_uri`."""
        return next(name for name in PIXELS.names if name in self.columns)

    @property
    def patch_columns(self) -> list[str]:
        """The columns to read of a patch: all, except the pixel columns other than `pixels`."""
        return [name for name in self.columns if name == self.pixels or name not in PIXELS.names]

    @property
    def rows(self) -> int:
        return sum(rows for footer in self.file_footers for rows in footer.groups)

    @property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """Every row group, in the manifest's order."""
        if self._row_groups is None:
            self._row_groups = tuple(
                RowGroup(file, number, rows)
                for file, footer in enumerate(self.file_footers)
                for number, rows in enumerate(footer.groups)
            )
        return self._row_groups

    def mixed_row_groups(self) -> list[tuple[int, int]]:
        """Return (file, row group) of row groups that hold, or may hold, more than one split or slide label.

        Only rows that describe their slides can mix these.
        """
        return [(file, number) for file, footer in enumerate(self.file_footers) for number in footer.mixed]

    def runs(self) -> Runs:
        """Return the slides of all rows, from footers; where a file's footer does not hold them, from its rows.

        Raises:
            ManifestError: the column `slide_id` cannot be read.
        """
        if self._runs is None:
            read = self.file_footers
            runs = [footer.runs or self._runs_of_rows(file, footer) for file, footer in enumerate(read)]
            self._runs = join_runs(runs, [len(footer.groups) for footer in read])
        return self._runs

    def _runs_of_rows(self, file: int, footer: Footer) -> FileRuns:
        try:
            table = _read_file(self.filesystem, self.files[file], file, ["slide_id"], footer.groups)
        except DataError as error:
            raise ManifestError(str(error)) from None
        if nulls := table["slide_id"].null_count:
            raise ManifestError(
                f"{self.files[file]} has {nulls:,} rows without a slide_id; every patch belongs to a slide"
            )
        return runs_of_rows(table["slide_id"], footer.groups)

    def cohort(self) -> Cohort:
        """Return the cohort from `slides.parquet`, or from the rows in format 1 and in tables of other programs.

        Raises:
            ManifestError: the cohort is missing, cannot be read, or its rows contradict each other.
        """
        if self.rows_describe_slides:
            try:
                slides = self._slides_of_rows()
            except DataError as error:
                raise ManifestError(str(error)) from None
            if PATIENT not in slides.column_names:  # each slide is taken for another patient, as in a list of slides
                slides = slides.append_column(PATIENT, slides[SLIDE])
            problems = find_problems(slides)
            if problems:
                raise ManifestError(f"{self.uri}: " + "; ".join(problems))
            return make_cohort(slides, self.uri)
        folder = self.folder.rstrip("/")
        cohort = read_cohort(folder)
        if cohort is None and folder.rpartition("/")[2] == footers.PATCHES:
            cohort = read_cohort(storage.parent(folder))
        if cohort is None:
            raise ManifestError(
                f"{self.uri} is not whole: it lacks {COHORT_FILE}, the table of slides; "
                "if the import that wrote it was stopped, import again"
            )
        return cohort

    def _slides_of_rows(self) -> pa.Table:
        """Return the table of `slides_of_rows`, made file by file, since there may be many rows."""
        names, read = [name for name in SLIDE_COLUMNS if name in self.columns], self.file_footers

        def one(file: int) -> pa.Table:
            return slides_of_rows(_read_file(self.filesystem, self.files[file], file, names, read[file].groups))

        return slides_of_rows(pa.concat_tables(_in_threads(one, range(len(self.files)))))

    def read_group(self, file: int, row_group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a row group, in the schema's types.

        Args:
            columns: some of the manifest's columns; None: all.

        Raises:
            DataError: the file is missing, cannot be read, or holds values that do not fit the schema's type.
        """
        path = self.files[file]
        names = list(columns if columns is not None else self.columns)
        try:
            metadata = _metadata(self.uri, self.digest, path)
            with pq.ParquetFile(
                path, filesystem=self.filesystem, metadata=metadata, pre_buffer=True, page_checksum_verification=True
            ) as opened:
                table = opened.read_row_group(row_group, columns=names, use_threads=False)
            return conform(table).select(names)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}, row group {row_group} cannot be read: {str(error).splitlines()[0]}") from None

    def read_rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns of all rows, in the manifest's order, and `file`, `row_group` and `row` (inside it), all int32.

        Ids, labels and splits are dictionary-encoded, so that ten million rows take some hundred MB.

        Args:
            columns: some of the manifest's columns; None: all but the image bytes.

        Raises:
            DataError: see `read_group`.
        """
        names = [name for name in self.columns if name != "image"] if columns is None else list(columns)
        read = self.file_footers

        def one(file: int) -> pa.Table:
            return _read_file(self.filesystem, self.files[file], file, names, read[file].groups)

        return pa.concat_tables(_in_threads(one, range(len(self.files)))).unify_dictionaries()

    @property
    def file_footers(self) -> tuple[Footer, ...]:
        """The footer of each file, read again after pickling."""
        if self._footers is None:
            self._footers = _read_footers(self.filesystem, self.files)
        return self._footers


def open_manifest(uri: str, *, labelled: bool = True) -> Manifest:
    """Open a manifest for use: the folder that `import_manifest` wrote, another folder of Parquet files, or one file.

    Only footers are read.

    Args:
        uri: a path or URI of any filesystem that pyarrow or fsspec know.
        labelled: whether patients, labels and splits have to be known; who only looks at patches needs none.

    Raises:
        ManifestError: `uri` does not exist, has no or broken Parquet files, lacks a column or file, has a newer format,
            or, with `labelled`, has row groups that mix splits or slide labels.
    """
    manifest = open_any(uri)
    missing = missing_columns(manifest.columns, rows_describe_slides=manifest.rows_describe_slides, labelled=labelled)
    if missing:
        raise ManifestError(f"{uri} lacks the columns {', '.join(missing)}; {_IMPORT}, with `columns` naming them")
    mixed = manifest.mixed_row_groups() if labelled else []
    if mixed:
        file, number = mixed[0]
        raise ManifestError(
            f"{len(mixed)} row groups of {uri} mix splits or slide labels, or have no statistics (first: row group "
            f"{number} of {manifest.files[file]}), and streaming needs one split and one label in each; {_IMPORT}"
        )
    return manifest


def open_any(uri: str, *, statistics: bool = True) -> Manifest:
    """Open a manifest or table that may lack columns or have mixed row groups, to check or to import it.

    Args:
        statistics: see `footers.read_footer`; without them no row group counts as mixed.

    Raises:
        ManifestError: `uri` does not exist, has no or broken Parquet files, lacks a file, or has a newer format.
    """
    uri = str(uri)
    try:
        filesystem, path = _filesystem(uri)
    except DataError as error:
        raise ManifestError(str(error)) from None
    files = footers.find_files(filesystem, path, uri)
    read = _read_footers(filesystem, files, statistics=statistics)
    parts = max(footer.parts for footer in read)
    numbers = {footer.part for footer in read}
    if parts and len(numbers & set(range(1, min(parts, len(read)) + 1))) < parts:
        missing = next(number for number in range(1, len(read) + 2) if number not in numbers)
        raise ManifestError(
            f"{uri} is not whole: it lacks part {missing} of {parts}; "
            "if the import that wrote it was stopped, import again"
        )
    return Manifest(uri if "://" in uri else path, files, read)


def _read_file(filesystem: fs.FileSystem, path: str, file: int, names: list[str], groups: Sequence[int]) -> pa.Table:
    strings = [name for name in names if name in SLIDE_COLUMNS]
    try:
        with pq.ParquetFile(
            path,
            filesystem=filesystem,
            read_dictionary=strings,
            pre_buffer=True,
            page_checksum_verification=True,
        ) as opened:
            table = opened.read(columns=names, use_threads=False)
        columns = {
            name: as_text(table[name], label=name == "label")
            if name in strings
            else table[name].cast(COLUMNS.field(name).type)
            for name in names
        }
    except KeyError as error:  # pyarrow's, for a nested column that is to be read as text
        name = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise DataError(f"{path} cannot be read: its column {name} holds lists or structures, not text") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    sizes = np.asarray(groups, dtype=np.int32)
    starts = np.cumsum(sizes) - sizes
    places = {
        "file": np.full(sizes.sum(), file, dtype=np.int32),
        "row_group": np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        "row": (np.arange(sizes.sum()) - np.repeat(starts, sizes)).astype(np.int32),
    }
    return pa.table({**columns, **places})


@lru_cache(maxsize=64)
def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    return storage.filesystem(uri)


@lru_cache(maxsize=8)
def _metadata(uri: str, digest: str, path: str) -> pq.FileMetaData:
    """Return a parsed footer, cached for the row groups of a file; `digest` changes when a manifest is written anew."""
    return footers.parse_footer(footers.read_footer_bytes(_filesystem(uri)[0], path), path)


def _read_footers(filesystem: fs.FileSystem, files: Sequence[str], *, statistics: bool = True) -> tuple[Footer, ...]:
    return tuple(
        footers.read_footer(footer, path, statistics=statistics) for path, footer in _footer_bytes(filesystem, files)
    )


def _footer_bytes(filesystem: fs.FileSystem, files: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield each file with its footer; several are fetched at a time.

    The caller parses them, in one thread, since every thread that parses keeps the memory of its largest footer.
    """
    for start in range(0, len(files), _THREADS):
        part = files[start : start + _THREADS]
        yield from zip(part, _in_threads(lambda path: footers.read_footer_bytes(filesystem, path), part), strict=True)


def _in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, items))
