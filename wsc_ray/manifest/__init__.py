"""What patches exist: the Parquet schema, import, check, and the tables that tiling writes."""

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
