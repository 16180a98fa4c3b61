"""Attention maps: where a head looked in a slide, as a file and as GeoJSON for QuPath."""
