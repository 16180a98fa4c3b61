"""Patches a second a core from slides, beside a loop over OpenSlide's `read_region`."""
