"""The clusters of `stream.by: cluster`: k-means over the features of the pure class, so that rare tissue is drawn as often as fat and stroma.

The assignments are made once, before training, and kept in the run folder as `clusters.parquet`: one row for each patch of the pure class, in the
order of the plan. Workers and resumed runs use these. The features are read twice, slide by slide: once to draw the patches that k-means
sees, and once to assign every patch. Of a manifest the columns `slide_id`, `x` and `y` of the pure class are read, of which other plans read
only footers. Patches without features, such as unreadable ones, are a cluster of their own, as long as they are few.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.feature_files.files import read_slides
from wsc_ray.files import first_line, read_table, write_table
from wsc_ray.progress import Progress
from wsc_ray.storage import AnyPath
from wsc_ray.stream.cluster_features import Places, directions, read_places
from wsc_ray.stream.groups import Group
from wsc_ray.stream.quarantine import allowed
from wsc_ray.stream.source import Source

CLUSTERS = "clusters.parquet"  # in the run folder
SCHEMA = pa.schema(  # a table of names and their indices: the names of all rows can be larger than the 2 GiB of an array of strings
    [
        ("slide_id", pa.dictionary(pa.int32(), pa.string())),
        ("x", pa.int64()),
        ("y", pa.int64()),
        ("cluster", pa.int32()),
    ]
)
LACKING = -1  # the cluster of patches without features
SEEN, SAMPLE = 256, 100_000  # patches that k-means sees at most: for each cluster, and in all
_ITERATIONS, _AT_ONCE = 100, 5  # of k-means: at most, and between two reports of progress


@dataclass(frozen=True, eq=False)
class Clusters:
    """The cluster of each of the n patches of the pure class, in the order of the plan's groups and of the rows in them; see `SCHEMA`."""

    table: pa.Table

    @cached_property
    def numbers(self) -> np.ndarray:
        """The cluster of each patch, (n,) int64; `LACKING` for patches without features."""
        return self.table["cluster"].to_numpy().astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the patches and their clusters."""
        digest = hashlib.sha256()
        for chunk in self.table["slide_id"].chunks:
            names = [f"{slide}\0".encode() for slide in chunk.dictionary.to_pylist()]
            codes = chunk.indices.to_numpy()
            begins = np.flatnonzero(np.diff(codes, prepend=-1))
            for code, rows in zip(codes[begins].tolist(), np.diff(begins, append=len(codes)).tolist(), strict=True):
                digest.update(names[code] * rows)
        for name in ("x", "y", "cluster"):
            digest.update(self.table[name].to_numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on patches without features."""
        lacking = int((self.numbers == LACKING).sum())
        if not lacking:
            return ()
        return (
            f"{lacking:,} of the {len(self.numbers):,} pure training patches ({lacking / len(self.numbers):.1%}) have no features and are a "
            "cluster of their own, which fills as many slots as each other cluster",
        )

    def counts(self) -> dict[str, int]:
        """Return the number of clusters of features that have patches, and the patches of the smallest and of the largest."""
        sizes = np.bincount(self.numbers[self.numbers != LACKING])
        sizes = sizes[sizes > 0]
        return {"count": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}


def cluster_patches(
    source: Source, groups: Sequence[Group], features: AnyPath, count: int, seed: int, *, max_bad_fraction: float = 0.0
) -> Clusters:
    """Assign every patch of some groups to one of `count` clusters of its features' directions.

    Args:
        groups: the groups of the pure class; see `wsc_ray.stream.plan.divide`.
        features: the feature store.
        seed: seed of k-means' first centres (k-means++, Arthur and Vassilvitskii 2007).
        max_bad_fraction: share of the patches that may lack features; see `wsc_ray.stream.quarantine.allowed`.

    Raises:
        DataError: the store lacks more patches of the groups than that, has several at one place, or cannot be read; or there are fewer
            patches than clusters.
    """
    places = read_places(source, groups)
    total = len(places.codes)
    if total < count:
        raise _too_many(count, f"{total:,} patches")
    rows_of, lacking = places.rows_by_slide(), _Lacking(places, features, max_bad_fraction)
    known = set(read_slides(features).ids)
    lacking.add({slide: rows for slide, rows in rows_of.items() if slide not in known})
    rows_of = {slide: rows for slide, rows in rows_of.items() if slide in known}

    drawn = np.zeros(total, bool)
    drawn[np.linspace(0, total - 1, min(total, SEEN * count, SAMPLE)).round().astype(np.int64)] = True
    sample, filled = np.empty((0, 0), np.float32), 0
    for slide, rows, values in directions(features, rows_of, places.coords, "drawing patches to cluster"):
        if len(rows) < len(rows_of[slide]):
            lacking.add({slide: np.setdiff1d(rows_of[slide], rows, assume_unique=True)})
        if not filled:
            sample = np.empty((int(drawn.sum()), values.shape[1]), np.float32)
        own = values[drawn[rows]]
        sample[filled : filled + len(own)] = own
        filled += len(own)
    if filled < count:  # all of a small class are drawn, so that fewer have features
        raise _too_many(count, f"{total - lacking.rows:,} patches with features")

    centres = _centres(sample[:filled], count, seed)
    half = (centres**2).sum(axis=1) / 2
    numbers = np.full(total, LACKING, np.int32)
    for _, rows, values in directions(features, rows_of, places.coords, "clustering patches"):
        numbers[rows] = (values @ centres.T - half).argmax(axis=1)
    slide_id = pa.DictionaryArray.from_arrays(places.codes, pa.array(places.slides, pa.string()))
    return Clusters(pa.table([slide_id, *places.coords.T.copy(), numbers], schema=SCHEMA))


class _Lacking:
    """Counts the patches without features, and refuses more of them than are allowed.

    Attributes:
        rows: number of patches without features.
    """

    def __init__(self, places: Places, features: AnyPath, fraction: float):
        self.places, self.features, self.fraction, self.rows = places, features, fraction, 0

    def add(self, rows_of: Mapping[str, np.ndarray]) -> None:
        """Count the rows of some slides.

        Raises:
            DataError: more patches lack features than `stream.max_bad_fraction` allows.
        """
        self.rows += sum(map(len, rows_of.values()))
        total = len(self.places.codes)
        if self.rows <= allowed(total, self.fraction):
            return
        slide, rows = next((slide, rows) for slide, rows in rows_of.items() if len(rows))
        x, y = self.places.coords[rows[0]].tolist()
        raise DataError(
            f"{self.features} has no features of at least {self.rows:,} of the {total:,} pure training patches ({self.rows / total:.1%}), such "
            f"as the one at {x},{y} of slide {slide}, and stream.max_bad_fraction allows {self.fraction:.3g}; embed them into it, give other "
            "stream.features, or leave their slides out through data.cohort"
        )


def _too_many(count: int, there: str) -> DataError:
    return DataError(f"the pure class has {there}, fewer than the {count:,} clusters of stream.clusters; give fewer")


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


def _centres(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the centres of k-means, (count, D) float32; on one thread, since sums in another order round differently.

    Args:
        vectors: (n, D) float32; they may change by rounding, since k-means works in place.
    """
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
        Progress("finding clusters", _ITERATIONS, unit="iterations") as progress,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different patches than clusters: some stay empty
        centres, _ = kmeans_plusplus(vectors, count, random_state=seed % 2**32)
        while progress.done < _ITERATIONS:
            found = KMeans(count, init=centres, n_init=1, max_iter=_AT_ONCE, copy_x=False).fit(vectors)
            centres = found.cluster_centers_
            progress.advance(found.n_iter_)
            if found.n_iter_ < _AT_ONCE:
                break
    return centres.astype(np.float32)
