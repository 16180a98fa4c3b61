"""The page: ids stay text, nothing is asked of anybody, and it is small."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.report.conftest import HOSTILE
from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.report.cards import Card, Cut, PatchView, Seen
from wsc_ray.report.page import Report, ResultPage, _bundle, render
from wsc_ray.report.pictures import Frame, attention_map, frame_of, mosaic, patch_picture

ABSENT = dict.fromkeys(("headline", "predictions", "training", "slides", "map"), "")


class Tags(HTMLParser):
    """Tags and attributes as a browser sees them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def test_what_looks_like_html_stays_text(report_page: Path) -> None:
    text = report_page.read_text()
    tags = Tags(text).tags
    assert HOSTILE not in text
    assert "alert(2)</script>" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "charts"}, {}, {}]
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)


def test_a_card_escapes_its_slide() -> None:
    seen = Seen(HOSTILE, HOSTILE, "0.9", False, "data:,", HOSTILE, [PatchView("data:,", 1, 2, "3x", HOSTILE)], [])
    card = Card(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [Cut(3, "data:,", HOSTILE, (3, 4), [seen])])
    result = ResultPage(
        HOSTILE, [(HOSTILE,) * 3], HOSTILE, HOSTILE, [HOSTILE], [HOSTILE], None, [(HOSTILE,) * 2], HOSTILE
    )
    page = render(Report(HOSTILE, HOSTILE, [result], cards=[card], sampled=HOSTILE, absent=ABSENT))
    pictures = [attributes["src"] for tag, attributes in Tags(page).tags if tag == "img"]
    assert pictures == ["data:,"] * 3
    assert HOSTILE not in page


def test_it_asks_nobody(report_page: Path) -> None:
    text = report_page.read_text()
    for tag, attributes in Tags(text).tags:
        for name in ("src", "href", "data", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in text
    assert "url(" not in re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    policy = next(
        attributes["content"] for tag, attributes in Tags(text).tags if tag == "meta" and "http-equiv" in attributes
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy


def test_the_charts_are_data(report_page: Path) -> None:
    (text,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', report_page.read_text())
    known = json.loads(text)
    assert len(known["charts"]) > 10
    used = {source for chart in known["charts"] for source in chart["sources"].values()}
    assert used == set(known["rows"])


def test_the_library_can_stand_in_a_page() -> None:
    assert "</script" not in _bundle().lower()
    assert "<!--" not in _bundle()


def test_a_page_without_charts_needs_no_script() -> None:
    page = render(Report("x", "now", [], absent=ABSENT))
    assert not [tag for tag, _ in Tags(page).tags if tag == "script"]
    assert len(page) < 20_000


def test_a_hundred_slides_take_less_than_ten_megabytes() -> None:
    rng = np.random.default_rng(0)
    stain = draw_stain(rng)
    images = [draw_patch(rng, False, stain, 128) for _ in range(64)]
    coords = np.array([(x * 128, y * 128) for y in range(8) for x in range(8)])
    frame = frame_of(coords, 128)
    assert frame is not None
    places = [(x, y) for x, y in coords.tolist()]
    attention = rng.dirichlet(np.ones(64)).astype(np.float32)
    one = len(mosaic(frame, places, images)) + len(attention_map(frame, coords, attention, None))
    one += sum(len(patch_picture(image)) for image in images[:12])
    assert 100 * (one + 4_000) + len(_bundle()) + 1_000_000 < 10_000_000


def test_patches_lie_where_they_are_in_the_map() -> None:
    import base64
    import io

    from PIL import Image

    coords = np.array([(0, 0), (400, 0), (0, 400), (800, 800)])
    frame = frame_of(coords, 400)
    assert frame == Frame(0, 0, 1200, 1200, 400)
    uri = attention_map(frame, coords, np.array([0, 0, 0, 1.0], np.float32), None)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    third = pixels.shape[0] // 3
    assert pixels[2 * third + 5, 2 * third + 5].tolist() == [253, 231, 36, 255]  # viridis' end
    assert pixels[5, 5].tolist() == [68, 1, 84, 255]  # and its beginning
    assert pixels[third + 5, third + 5, 3] == 0  # no patch there
    assert frame_of(np.full((3, 2), -1), 400) is None


def test_a_frame_does_not_hide_attention() -> None:
    coords = np.array([(0, 0), (1000, 1000)])
    for patch, framed in ((100, True), (10, False)):
        frame = frame_of(coords, patch)
        assert frame is not None
        plain, known = (attention_map(frame, coords, np.array([0.5, 0.5]), labels) for labels in (None, np.ones(2)))
        assert (plain != known) is framed


@pytest.mark.parametrize("patch", [None, 256])
def test_a_single_patch_has_a_frame(patch: int | None) -> None:
    assert frame_of(np.array([(512, 256)]), patch) == Frame(512, 256, 256, 256, 256)
