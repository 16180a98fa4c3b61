"""What pages tell: every `wsc-ray` command that they show exists, with its options, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest

from wsc_ray.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "cluster", ROOT / "jobs")
    for path in (folder.rglob("*.md") if folder != ROOT else folder.glob("*.md"))
)
OLD = re.compile(r"\(at that commit[^)]*\)")  # what a measured command was called when it was measured
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def lines(page: str) -> list[str]:
    """The lines of a page's code blocks and its inline code that begin with `wsc-ray`."""
    page = OLD.sub("", page)
    blocks = re.findall(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    shown = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = [re.sub(r"\s+", " ", text) for text in re.findall(r"`(wsc-ray [^`]+)`", page)]
    return [line for line in (*shown, *inline) if line.startswith("wsc-ray ")]


def problems(line: str) -> list[str]:
    """What in a line does not exist."""
    found: click.Command = main
    words = shlex.split(line, comments=True)[1:]
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    if isinstance(found, click.Group) and words and re.fullmatch(r"[a-z]+", words[0]):
        return [f"no command {words[0]}"]
    known = {name for parameter in found.params for name in parameter.opts} | {"--help", "--version"}
    return [
        f"no option {word}" for word in words if word.startswith("--") and word.split("=")[0].rstrip(",;:") not in known
    ]


def anchors(page: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", _FENCED.sub("", page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in plain}


def broken_links(path: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = path.parent / file if file else path
        if not place.exists() or (anchor and anchor not in anchors(place.read_text())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_type_exists(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("it also tells of what there was")
    wrong = {line: problems(line) for line in lines(page.read_text())}
    assert {line: each for line, each in wrong.items() if each} == {}


def test_a_command_or_option_that_does_not_exist_is_found():
    page = "```sh\nwsc-ray pretrain x.yaml \\\n  --chips 3\n```\n`wsc-ray lay` and `wsc-ray tune --run RUN`\n"
    assert [problems(line) for line in lines(page)] == [["no option --chips"], ["no command lay"], []]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "a.md").write_text(
        "# One `word` more\n[x](b.md) [y](a.md#one-word-more) [z](#two) [w](https://example.org)\n"
    )
    assert broken_links(tmp_path / "a.md") == ["b.md", "#two"]
