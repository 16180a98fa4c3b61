"""Check a manifest's rows against the SHA-256 of the rows that each file was written with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.manifest.footers import written_digest
from wsc_ray.manifest.read import Manifest
from wsc_ray.manifest.schema import hash_rows


def wrong_files(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each file whose rows are not those that were written, or that cannot be read to the end.

    Files of other programs hold no digest and cannot be checked.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for problem in pool.map(lambda path: _problem(manifest, path), manifest.files):
            if problem:
                yield problem


def _problem(manifest: Manifest, path: str) -> str | None:
    try:
        with pq.ParquetFile(path, filesystem=manifest.filesystem, page_checksum_verification=True) as opened:
            wanted = written_digest(opened.metadata)
            if wanted is None:
                return None
            digest = hashlib.sha256()
            for number in range(opened.num_row_groups):
                hash_rows(digest, opened.read_row_group(number, use_threads=False))
    except (OSError, pa.ArrowException) as error:
        return f"{path} is damaged: {str(error).splitlines()[0]}"
    return None if digest.hexdigest() == wanted else f"{path} is damaged: its rows are not those that were written"
