"""`slides.html` as one file, which MLflow's interface can show: the first slides of the page, with small pictures inside."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from wsc_ray.slides.coords import preview_path
from wsc_ray.storage import AnyPath
from wsc_ray.tiling.page import PAGE, Card, render
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

SLIDES = 60
SIDE, QUALITY = 560, 80  # px: longer side of a picture; of its JPEG


def log_page(tracker: Tracker, out: AnyPath, cards: Sequence[Card]) -> None:
    """Log the first slides of a manifest's page to MLflow, unless its store keeps no artifacts.

    Args:
        out: the manifest's folder, with the pictures in `previews/`.
        cards: the slides in the order of the page.
    """
    if not tracker.keeps_artifacts:
        return
    some = [replace(card, preview=_small(out, card) if card.preview else None) for card in cards[:SLIDES]]
    with tempfile.TemporaryDirectory(prefix="wsc-ray-page-") as folder:
        page = Path(folder) / PAGE
        page.write_text(render(cards, title=out.name, some=some, whole=shown(out / PAGE)), encoding="utf-8")
        tracker.log_artifact(page)


def _small(out: AnyPath, card: Card) -> str | None:
    """Return a slide's picture as a `data:` URI; None if its file holds none."""
    data = np.frombuffer(preview_path(out, card.slide_id).read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        return None
    factor = min(1.0, SIDE / max(picture.shape[:2]))
    width, height = (max(1, round(side * factor)) for side in picture.shape[1::-1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
