"""Reading whole-slide files: the list of them, their scale, where tissue is, and the grid of patches on it."""

from wsc_ray.slides.slide import Region, Slide, open_slide

__all__ = ["Region", "Slide", "open_slide"]
