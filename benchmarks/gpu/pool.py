"""Writing the file of patches for `evidence`: `python -m benchmarks.gpu.pool POOL.parquet OUT.npz --patches 8000`.

POOL.parquet has one row per patch: `part` (train, valid), `stain_group`, `patch_label` (1: tumour) and `image` (an encoded file).
All patches of `valid` are kept, and the requested number of patches of `train`, half of them tumour.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patches", type=int, default=8000, help="patches of the part `train`")
    options = parser.parse_args()
    table = pq.read_table(options.pool, columns=["part", "stain_group", "patch_label", "image"])
    part, label = table["part"].to_numpy(), table["patch_label"].to_numpy()
    rng = np.random.default_rng(0)
    keep = [np.flatnonzero(part == "valid")]
    for value in (0, 1):
        rows = np.flatnonzero((part == "train") & (label == value))
        keep.append(rng.permutation(rows)[: options.patches // 2])
    table = table.take(np.sort(np.concatenate(keep)))
    images = table["image"].to_pylist()
    np.savez(
        options.out,
        data=np.frombuffer(b"".join(images), np.uint8),
        ends=np.cumsum([len(image) for image in images]),
        train=table["part"].to_numpy() == "train",
        group=np.unique(table["stain_group"].to_numpy(), return_inverse=True)[1],
        tumour=table["patch_label"].to_numpy().astype(np.int8),
    )


if __name__ == "__main__":
    main()
