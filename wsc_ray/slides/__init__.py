"""Whole-slide images: the list of slides, their readers and scale, the tissue on them, and the grid of patches on the tissue."""

from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.slide import Region, Slide

__all__ = ["Region", "Slide", "open_slide"]
