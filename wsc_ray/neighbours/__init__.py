"""Patches that look alike: the nearest patches of a patch or slide, and near-duplicates between patients."""

from wsc_ray.neighbours.index import PatchIndex
from wsc_ray.neighbours.vectors import PatchVectors, load_vectors

__all__ = ["PatchIndex", "PatchVectors", "load_vectors"]
