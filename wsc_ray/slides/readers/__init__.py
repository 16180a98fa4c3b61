"""Slide readers, a file each: see `wsc_ray.slides.slide` for what one consists of, and docs/add-a-reader.md."""
