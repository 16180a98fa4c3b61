"""Reading whole-slide files: the list of them, their scale, where tissue is, and the grid of patches on it."""

from wsc_ray.slides.slide import Slide, open_slide

__all__ = ["Slide", "open_slide"]
