"""The frozen encoder's features of the pool's patches, made with `wsc-ray manifest import` and `wsc-ray embed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.evidence.pool import Pool
from wsc_ray.bench.environment import usable_cores
from wsc_ray.commands import embed, manifest_import
from wsc_ray.encoders import build_encoder, export_encoder, load_weights
from wsc_ray.encoders.frozen import digest_of, read_weights
from wsc_ray.encoders.weights import WEIGHTS, statistics_for
from wsc_ray.files import read_summary

BACKBONE = "tf_efficientnet_lite0"
PIXELS = 64  # px: side to which patches of 96 px are resized, unless said otherwise


@dataclass(frozen=True, eq=False)
class Features:
    """The frozen encoder's features of the pool's patches.

    Attributes:
        plain: (n, D) float32; NaN for patches in no pseudo-slide.
        views: (m, K, D) float16, for the patches that encoders are trained on.
        place: (n,) row of each patch in `views`; -1 for patches without views.
        encoder: digest of the frozen encoder's weights.
    """

    plain: np.ndarray
    views: np.ndarray
    place: np.ndarray
    encoder: str = ""


def embed_pool(
    folder: Path,
    table: pa.Table,
    pool: Pool,
    weights: Path,
    *,
    trained: np.ndarray,
    seen: np.ndarray,
    views: int,
    pixels: int = PIXELS,
) -> Features:
    """Return the features of the pool; those that `folder` holds already are reused.

    Args:
        weights: folder with the weights of the frozen encoder.
        trained: patches that need views.
        seen: further patches that need plain features.
        views: K, number of views of a patch.
        pixels: side to which patches are resized, px.
    """
    encoder = folder / "encoder"
    if not (encoder / "config.json").exists():
        model = build_encoder(BACKBONE, size=pixels, head_hidden=8, head_dim=8)
        load_weights(model, weights)
        statistics = statistics_for(BACKBONE, str(weights), weights)
        export_encoder(model, encoder, name=BACKBONE, size=pixels, statistics=statistics)
    stores = {}
    for name, rows, count in (("trained", trained, views), ("seen", seen, 0)):
        if not len(rows):
            continue
        stores[name] = folder / name / "features"
        if read_summary(stores[name]) is None:
            _embed(folder / name, table, pool, rows, encoder, count)
    plain, place, found = None, np.full(len(pool), -1), []
    for name, store in stores.items():
        for path in sorted(store.glob("*.h5")):
            with h5py.File(path) as file:
                rows, features = file["coords"][:, 0], file["features"][:]
                plain = np.full((len(pool), features.shape[1]), np.nan, np.float32) if plain is None else plain
                plain[rows] = features
                if name == "trained":
                    place[rows] = sum(map(len, found)) + np.arange(len(rows))
                    found.append(file["views"][:])
    assert plain is not None  # there is at least one patch
    digest = digest_of(read_weights(encoder / WEIGHTS))
    return Features(plain, np.concatenate(found), place, digest)


def _embed(folder: Path, table: pa.Table, pool: Pool, rows: np.ndarray, encoder: Path, views: int) -> None:
    """Import and embed some patches; a stain group is imported as a slide, and x is the patch's row in the pool."""
    groups = pool.group[rows].tolist()
    patches = pa.table(
        {
            "slide_id": groups,
            "patient_id": groups,
            "label": ["pool"] * len(rows),
            "split": ["pool"] * len(rows),
            "x": rows,
            "y": np.zeros_like(rows),
            "patch_size": [96] * len(rows),
            "level": [0] * len(rows),
            "mpp": table["mpp"].take(pa.array(rows)),
            "image": table["image"].take(pa.array(rows)),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "patches.parquet"
    pq.write_table(patches, source)
    manifest_import(source=source, out=folder / "manifest")
    settings = ("augment.vflip=0.5", "augment.rotate90=true", f"embed.workers={usable_cores()}", "embed.batch_size=128")
    embed(
        encoder=encoder,
        manifest=str(folder / "manifest"),
        out=folder / "features",
        views=views,
        overrides=[*settings, f"tracking.uri=sqlite:///{folder}/mlflow.db"],
    )
