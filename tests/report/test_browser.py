"""The page in Chromium: no error, no request, every picture, nothing that axe calls serious, whole in print."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; Debian's package is called chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(1400, "light"), (390, "dark")], ids=["desk", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, report_page: Path) -> Iterator[Any]:
    """The page once all charts are drawn, with what it said and asked."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.goto(report_page.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot svg').length"
    )
    yield page
    context.close()


def test_it_draws_everything_and_asks_nobody(opened: Any, report_page: Path) -> None:
    assert opened.said == []
    assert {url for url in opened.asked if not url.startswith("data:")} == {report_page.as_uri()}
    broken = "[...document.images].filter(each => !each.complete || !each.naturalWidth).length"
    assert opened.evaluate("document.images.length") > 50
    assert opened.evaluate(broken) == 0
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    empty = "[...document.querySelectorAll('.plot svg')].filter(each => !each.querySelector('path')).length"
    assert opened.evaluate(empty) == 0


def test_a_label_that_looks_like_html_does_not_run_in_a_tooltip(opened: Any) -> None:
    opened.locator(".plot svg .mark-symbol path").first.hover(force=True)
    opened.wait_for_timeout(300)
    assert opened.said == []
    assert opened.evaluate("document.querySelectorAll('img[src=x], #vg-tooltip-element img').length") == 0


def test_axe_finds_nothing_serious(opened: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_it_prints(opened: Any, tmp_path: Path) -> None:
    opened.emulate_media(media="print")
    content = opened.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert content.startswith(b"%PDF")
    wide = "[...document.querySelectorAll('.plot svg')].filter(each => each.getBoundingClientRect().right > innerWidth + 1).length"
    opened.set_viewport_size({"width": 718, "height": 1000})  # A4 within its margins
    assert opened.evaluate(wide) == 0
