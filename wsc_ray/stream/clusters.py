"""The clusters of `stream.by: cluster`: k-means over the features of the pure class, so that rare tissue is drawn as often as fat and stroma.

The assignments are made once, before training, and kept in the run folder as `clusters.parquet`: one row for each patch of the pure class, in the
order of the plan. Workers and resumed runs use these. The features are read twice, slide by slide: once to draw the patches that k-means
sees, and once to assign every patch. Of a manifest the columns `slide_id`, `x` and `y` of the pure class are read, of which other plans read
only footers.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.feature_files.files import COORDS, FEATURES, open_slide, read_slides, unreadable
from wsc_ray.files import first_line, read_table, write_table
from wsc_ray.progress import Progress
from wsc_ray.storage import AnyPath
from wsc_ray.stream.groups import Group
from wsc_ray.stream.source import Source

CLUSTERS = "clusters.parquet"  # in the run folder
SCHEMA = pa.schema([("slide_id", pa.string()), ("x", pa.int64()), ("y", pa.int64()), ("cluster", pa.int32())])
SEEN = 256  # patches per cluster that k-means sees at most
_THREADS = 8  # that read row groups
_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Clusters:
    """The cluster of each of the n patches of the pure class, in the order of the plan's groups and of the rows in them; see `SCHEMA`."""

    table: pa.Table

    @cached_property
    def numbers(self) -> np.ndarray:
        """The cluster of each patch, (n,) int64."""
        return self.table["cluster"].to_numpy().astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the patches and their clusters."""
        digest = hashlib.sha256()
        for slide in self.table["slide_id"].to_pylist():
            digest.update(f"{slide}\0".encode())
        for name in ("x", "y", "cluster"):
            digest.update(self.table[name].to_numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Return the number of clusters that have patches, and the patches of the smallest and of the largest."""
        sizes = np.bincount(self.numbers)
        sizes = sizes[sizes > 0]
        return {"count": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}


def cluster_patches(source: Source, groups: Sequence[Group], features: AnyPath, count: int, seed: int) -> Clusters:
    """Assign every patch of some groups to one of `count` clusters of its features' directions.

    Args:
        groups: the groups of the pure class; see `wsc_ray.stream.plan.pure_groups`.
        features: the feature store.
        seed: seed of k-means' first centres (k-means++, Arthur and Vassilvitskii 2007).

    Raises:
        DataError: the store lacks slides or patches of the groups, has several patches at one place, or cannot be read; or there are fewer
            patches than clusters.
    """
    patches = _read_patches(source, groups)
    total = patches.num_rows
    if total < count:
        raise DataError(
            f"the pure class has {total:,} patches, fewer than the {count:,} clusters of stream.clusters; give fewer"
        )
    rows_of = _rows_by_slide(patches, features)
    coords = np.column_stack([patches["x"].to_numpy(), patches["y"].to_numpy()])
    drawn = np.zeros(total, bool)
    drawn[np.linspace(0, total - 1, min(total, SEEN * count)).round().astype(np.int64)] = True
    sample = {slide: rows[drawn[rows]] for slide, rows in rows_of.items()}
    seen = [values for _, values in _vectors(features, {k: v for k, v in sample.items() if len(v)}, coords)]
    centres = _centres(np.concatenate(seen), count, seed)
    half = (centres**2).sum(axis=1) / 2
    numbers = np.empty(total, np.int32)
    for rows, values in _vectors(features, rows_of, coords):
        numbers[rows] = (values @ centres.T - half).argmax(axis=1)
    return Clusters(patches.append_column("cluster", pa.array(numbers)).cast(SCHEMA))


def read_clusters(path: AnyPath, patches: int) -> Clusters:
    """Read the clusters of a run.

    Args:
        patches: number of patches of the pure class.

    Raises:
        RunFolderError: the file is damaged, or of another number of patches.
    """
    try:
        table = read_table(path, SCHEMA)
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} cannot be read: {first_line(error)}; delete it, and the same command makes it again"
        ) from None
    if table.num_rows != patches or table["cluster"].null_count:
        raise RunFolderError(
            f"{path} has the clusters of {table.num_rows:,} patches, and the pure class now has {patches:,}: the manifest or the training "
            "slides have changed; give a new --out"
        )
    return Clusters(table)


def write_clusters(path: AnyPath, clusters: Clusters) -> None:
    """Write the clusters of a run."""
    write_table(path, clusters.table)


def _read_patches(source: Source, groups: Sequence[Group]) -> pa.Table:
    """Return `slide_id`, `x` and `y` of the rows of groups, in order."""
    names = [name for name in SCHEMA.names if name != "cluster"]

    def read(group: Group) -> pa.Table:
        table = source.read_group(group.file, group.row_group, names)
        return (
            table.select(names).slice(group.start, group.rows).cast(pa.schema([SCHEMA.field(name) for name in names]))
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        return pa.concat_tables(pool.map(read, groups)).combine_chunks()


def _rows_by_slide(patches: pa.Table, features: AnyPath) -> dict[str, np.ndarray]:
    """Return each slide's rows, after checking that the store has these slides."""
    column = patches["slide_id"].combine_chunks().dictionary_encode()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy(zero_copy_only=False)
    known = set(read_slides(features).ids)
    lacking = [name for name in names if name not in known]
    if lacking:
        raise DataError(
            f"{features} has no features of {len(lacking):,} of the {len(names):,} pure training slides, such as {lacking[0]}; embed them "
            "into it, or give other stream.features"
        )
    order = np.argsort(codes, kind="stable")
    return dict(zip(names, np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]), strict=True))


def _vectors(
    features: AnyPath, rows_of: Mapping[str, np.ndarray], coords: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some rows of each slide, and their features (rows, D) float32 with length 1."""
    width: int | None = None
    with Progress("clustering patches", sum(map(len, rows_of.values())), unit="patches") as progress:
        for slide, rows in rows_of.items():
            with open_slide(features, slide) as file:
                try:
                    values, places = file[FEATURES][:], file[COORDS][:]
                except (OSError, KeyError, TypeError) as error:
                    raise unreadable(features, slide, error) from None
            if values.ndim != 2 or len(values) != len(places) or width not in (None, values.shape[1]):
                raise DataError(
                    f"features of slide {slide} in {features} are {values.shape} of {len(places):,} patches, and those of the other slides "
                    f"have {width} dimensions; embed them with one encoder"
                )
            width = values.shape[1]
            found = values[_find(coords[rows], places, slide, features)].astype(np.float32)
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            if not np.isfinite(lengths).all() or not (lengths > 0).all():
                raise DataError(
                    f"features of slide {slide} in {features} are not all finite numbers, or all zero; embed it again"
                )
            progress.advance(len(rows))
            yield rows, found / lengths


def _find(wanted: np.ndarray, stored: np.ndarray, slide: str, features: AnyPath) -> np.ndarray:
    """Return the row of each wanted place (n, 2) among the stored ones (m, 2)."""
    if np.array_equal(wanted, stored):
        return np.arange(len(stored))
    row = {place: number for number, place in enumerate(map(tuple, stored.tolist()))}
    places = list(map(tuple, wanted.tolist()))
    lacking = [place for place in places if place not in row]
    if lacking:
        raise DataError(
            f"{features} lacks {len(lacking):,} of the {len(places):,} patches of slide {slide}, such as the one at {lacking[0][0]},"
            f"{lacking[0][1]}; embed the run's manifest into it, or give other stream.features"
        )
    if len(row) < len(stored):
        raise DataError(
            f"{features} has several patches of slide {slide} at one place, so that it is not known which are the run's; embed the run's "
            "manifest, or give other stream.features"
        )
    return np.array([row[place] for place in places], dtype=np.int64)


def _centres(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the centres of k-means, (count, D) float32; on one thread, since sums in another order round differently."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different patches than clusters: some stay empty
        found = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed % 2**32).fit(vectors)
    return found.cluster_centers_.astype(np.float32)
