"""The page of all slides: which come first and why, that nothing of a list becomes HTML, and what a browser makes of it."""

import base64
import functools
import http.server
import json
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.slides.drawn import draw, write
from wsc_ray.slides.coords import Facts
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.scale import Scale
from wsc_ray.slides.slide_grid import BLURRED, LITTLE, NO_TISSUE, PEN, Settings, SlideGrid, slide_grids
from wsc_ray.tiling import artifact
from wsc_ray.tiling.page import Card, cards_of, render, suspicions, write_page

SETTINGS = Settings(mpps=(0.5,), size=64, overlap=0, tissue=0.5, reader="openslide")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def found(kept, *, mpp=0.5, **dropped):
    """The grid of a slide of which so many patches are kept."""
    names = {"no": NO_TISSUE, "little": LITTLE, "pen": PEN, "blurred": BLURRED}
    facts = Facts(1000, 800, 1.0, 0.0, 0.0, {names[name]: count for name, count in dropped.items()})
    return [SlideGrid(np.zeros((kept, 2), np.int64), Scale(0, 64, 64, 64.0, 0.5, mpp), facts)]


def entry(name, **values):
    return Entry(name, Path(f"{name}.svs"), name, "negative", "train", **values)


@pytest.mark.parametrize(
    ("grids", "said"),
    [
        (found(100, no=200, little=20), []),
        ([SlideGrid.failed("it is broken")], ["it is broken"]),
        (found(0, no=300), ["no patch is kept"]),
        (found(0), ["no patch is kept"]),  # smaller than a patch
        (found(9, no=300), ["few patches: 9, and the median slide has 100"]),
        (found(10, no=300), []),
        (found(70, pen=30, no=200), ["pen: 30% of the patches with tissue"]),
        (found(79, blurred=30, no=200), ["out of focus: 28% of the patches with tissue"]),
        (found(100, mpp=0.25, no=200), ["odd scale: 0.25 um/px, and the median is 0.5"]),
        (found(100, mpp=0.7, no=200), []),
        (found(198, no=2), ["99% of the grid is kept: was glass taken for tissue?"]),
        (found(40, no=0), []),
        (found(2, blurred=300, mpp=1.0), ["few patches", "out of focus: 99%", "odd scale: 1 um/px"]),
    ],
)
def test_what_is_suspicious(grids, said):
    sentences = [sentence for _, sentence in suspicions(grids, 100, 0.5)]
    assert len(sentences) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(sentences, said, strict=True)), sentences


def test_a_full_grid_is_no_surprise_where_all_patches_are_kept():
    assert suspicions(found(500), 500, 0.5)
    assert not suspicions(found(500), 500, 0.5, all_kept=True)


def test_suspicious_slides_come_first_the_worst_of_them_before_the_rest():
    grids = {
        "fine": found(100, no=200),
        "odd": found(100, mpp=2.0, no=200),
        "also-fine": found(90, no=200),
        "none": found(0, no=200),
        "broken": [SlideGrid.failed("it is broken")],
        "blurred": found(60, blurred=60),
    }
    cards = cards_of([entry(name) for name in grids], list(grids.values()), SETTINGS, set())
    assert [card.slide_id for card in cards] == ["broken", "none", "blurred", "odd", "fine", "also-fine"]
    assert [bool(card.reasons) for card in cards] == [True] * 4 + [False] * 2
    assert cards[4].facts["patches"] == "100"
    assert cards[2].facts["dropped: out of focus"] == "60"


def test_several_scales_are_counted_apart():
    two = found(100, no=200) + found(25, no=50)
    settings = Settings(mpps=(0.5, 1.0), size=64, overlap=0, tissue=0.5, reader="openslide")
    (card,) = cards_of([entry("a")], [two], settings, {"a.jpg"})
    assert (card.facts["patches at 0.5 um/px"], card.facts["patches at 1 um/px"]) == ("100", "25")
    assert card.facts["dropped: no tissue"] == "250"
    assert card.preview == "previews/a.jpg"


class _Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_nothing_of_a_list_becomes_html_and_nothing_outside_is_asked_for():
    evil = "<script>alert(1)</script>\"'&"
    slide = Entry("a (1) & b+c=d", Path("a.svs"), "p", evil, evil, site=evil)
    cards = cards_of([slide, entry("x")], [found(5), [SlideGrid.failed(evil)]], SETTINGS, {"a (1) & b+c=d.jpg"})
    page = _Tags(render(cards, title=evil))
    assert not {"script", "iframe", "link"} & {tag for tag, attrs in page.found if attrs.get("href") != "data:,"}
    assert page.text.count(evil) == 6  # the title twice, the reason, label, split and site
    sources = [value for _, attrs in page.found for name, value in attrs.items() if name in ("src", "href")]
    assert sources == ["data:,", *["previews/a%20%281%29%20%26%20b%2Bc%3Dd.jpg"] * 2]


def test_a_page_of_thousands_of_slides_is_small_and_loads_pictures_when_they_are_seen():
    names = [f"slide-{number:05d}" for number in range(2000)]
    text = render(
        cards_of(
            [entry(name) for name in names], [found(100, no=20)] * 2000, SETTINGS, {f"{name}.jpg" for name in names}
        ),
        title="many",
    )
    assert len(text) < 2.4e6
    pictures = [attrs for tag, attrs in _Tags(text).found if tag == "img"]
    assert len(pictures) == 2000
    assert all(attrs["loading"] == "lazy" for attrs in pictures)


class _Artifacts:
    """Stands for an MLflow run, and keeps the text of what is logged."""

    keeps_artifacts = True

    def log_artifact(self, path):
        self.text = path.read_text()


def test_the_page_in_mlflow_is_one_file_with_the_first_slides(made, monkeypatch):
    monkeypatch.setattr(artifact, "SLIDES", 2)
    cards = [Card("glass", ("no patch is kept",), 1, "previews/glass.jpg", {}), Card("c", (), 9, "previews/c.jpg", {})]
    cards.append(Card("a (1) & b", (), 9, "previews/a.jpg", {}))
    logged = _Artifacts()
    artifact.log_page(logged, made, cards)
    page = _Tags(logged.text)
    sources = [attrs["src"] for tag, attrs in page.found if tag == "img"]
    assert [source[:23] for source in sources] == ["data:image/jpeg;base64,"] * 2
    assert not [tag for tag, _ in page.found if tag == "a"]
    assert "3 slides, 1 of them suspicious" in page.text
    assert "Here are the first 2." in page.text
    assert str(made / "slides.html") in page.text
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(sources[1][23:]), np.uint8), cv2.IMREAD_COLOR)
    assert max(decoded.shape) == artifact.SIDE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page of four slides, one without tissue and one that is missing, with its pictures."""
    folder = tmp_path_factory.mktemp("page")
    pictures = {"a (1) & b": draw(1024, seed=1), "c": draw(900, seed=2), "glass": np.full((512, 700, 3), 243, np.uint8)}
    entries, grids = [], []
    for name, picture in pictures.items():
        write(folder / f"{name}.tif", picture)
        entries.append(Entry(name, folder / f"{name}.tif", name, "negative", "train"))
        grids.append(slide_grids(entries[-1], SETTINGS, folder / "out"))
    entries.append(entry("missing"))
    grids.append([SlideGrid.failed("missing.svs is not there")])
    write_page(folder / "out", entries, grids, SETTINGS)
    return folder / "out"


def test_a_page_is_written_beside_its_pictures(made):
    text = (made / "slides.html").read_text()
    order = [text.index(f"<h2>{name}</h2>") for name in ("missing", "glass", "a (1) &amp; b", "c")]
    assert order == sorted(order)
    assert sorted(path.name for path in (made / "previews").iterdir()) == ["a (1) & b.jpg", "c.jpg", "glass.jpg"]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_shows_every_picture_without_an_error(made, tmp_path, width):
    """The page in a frame of that width, with a script that looks at every picture and at the width."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            asked.append((self.path, int(code)))

    shutil.copytree(made, tmp_path / "out")
    probe = """<script>
      for (const each of document.images) each.loading = "eager";
      addEventListener("load", () => { top.document.title = JSON.stringify({
        pictures: [...document.images].map(each => each.naturalWidth), width: innerWidth,
        wide: document.documentElement.scrollWidth - innerWidth}); });
    </script></body>"""
    page = tmp_path / "out" / "slides.html"
    page.write_text(page.read_text().replace("</body>", probe))
    frame = f'<title></title><link rel="icon" href="data:,"><iframe src="slides.html" width="{width}" height="900" frameborder="0">'
    (tmp_path / "out" / "frame.html").write_text(frame)  # a window of Chromium's is 500 px wide at least
    handler = functools.partial(Handler, directory=str(tmp_path / "out"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000",
                f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom", f"http://127.0.0.1:{server.server_port}/frame.html",
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        server.shutdown()
    title = shown.stdout.split("<title>")[1].split("</title>")[0].replace("&quot;", '"')
    told = json.loads(title)
    assert told["pictures"] == [700, 1024, 900]
    assert told["width"] == width
    assert told["wide"] <= 0, "nothing to scroll sideways"
    assert "CONSOLE" not in shown.stderr
    assert {code for _, code in asked} <= {200, 304}
    assert {path.split("/")[1] for path, _ in asked} == {"frame.html", "slides.html", "previews"}
