"""Manifests, which list the patches that exist: their Parquet schema, how they are imported, opened and checked."""

from wsc_ray.manifest.footers import RowGroup
from wsc_ray.manifest.lists import PatchList
from wsc_ray.manifest.problems import find_problems
from wsc_ray.manifest.read import Manifest, open_manifest
from wsc_ray.manifest.schema import FORMAT_VERSION

__all__ = [
    "FORMAT_VERSION",
    "Manifest",
    "PatchList",
    "RowGroup",
    "find_problems",
    "open_manifest",
]
