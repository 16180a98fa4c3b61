"""Patches per second and core from slides, compared with a loop over OpenSlide's `read_region`."""
