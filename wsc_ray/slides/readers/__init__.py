"""Slide readers, one file each; see `wsc_ray.slides.slide` for their interface, and docs/add-a-reader.md."""
