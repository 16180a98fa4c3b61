"""Opening a slide with a reader, wherever its file lies."""

from __future__ import annotations

from pathlib import Path

from wsc_ray.errors import DataError
from wsc_ray.slides.objects import CopiedSlide
from wsc_ray.slides.slide import MAX_SLIDE, READERS, Slide
from wsc_ray.storage import AnyPath


def open_slide(path: AnyPath, reader: str) -> Slide:
    """Open a slide file, or a slide on an object store, with the reader of that name.

    Raises:
        DataError: the file is missing or damaged, has a format that the reader does not know, is larger than any slide, or has no room on
            the node's disk.
    """
    kind = READERS[reader]
    if isinstance(path, Path):
        if not path.is_file():
            raise DataError(f"{path} is not there")
        slide: Slide = kind(path)
    else:
        slide = kind.of_object(path) or CopiedSlide(path, kind)
    width, height = slide.size
    if width * height > MAX_SLIDE:
        slide.close()
        raise DataError(f"{path} says it is {width:,} x {height:,} px, more than any scanner makes")
    return slide
