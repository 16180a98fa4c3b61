"""Slides -> manifest: the layout from the grids, cutting the patches, and the command."""

from wsc_ray.tiling.run import tile_slides

__all__ = ["tile_slides"]
