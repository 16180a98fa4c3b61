"""`python -m benchmarks.tile` at tiny sizes, and what a user can do wrong."""

import json
from functools import partial

import pytest
import tifffile

from benchmarks.tile.__main__ import main
from benchmarks.tile.contenders import LOOP, STORED
from benchmarks.tile.slides import drawn_slide
from benchmarks.tile.targets import MEMORY, verdicts
from tests.conftest import invoke
from tests.slides.drawn import draw
from tests.slides.jpeg_slides import write_jpeg_slide
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN
from wsc_ray.slides.opening import open_slide

pytestmark = pytest.mark.slow
ROUNDS = 2
run_main = partial(invoke, program=main)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    slide = write_jpeg_slide(folder / "mine.svs", [draw(700)])
    result = run_main(
        *("--out", folder / "out", "--quick", "--rounds", ROUNDS, "--slide", slide, "--markdown", folder / "tile.md")
    )
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "out" / "summary.json").read_text()), (folder / "tile.md").read_text()


def test_every_slide_has_a_sample_of_everybody_in_each_round(done):
    _, summary, _ = done
    assert set(summary["samples"]) == {"drawn-1440.svs", "drawn-960.tif", "mine.svs"}
    for samples in summary["samples"].values():
        assert {LOOP, STORED} <= set(samples)
        for found in samples.values():
            assert len(found) == ROUNDS
            assert all(min(sample.values()) > 0 for sample in found)
    rows = {row["name"]: row for row in summary["results"]}
    row = rows[f"mine.svs: {STORED}, against {LOOP}"]
    assert row["ratio"] == summary["speeds"]["mine.svs"][STORED]["ratio"]["median"]
    assert set(summary["peaks"]) == {"960", "1200", "1440"}


def test_the_page_says_how_to_repeat_it(done):
    _, summary, page = done
    assert "python -m benchmarks.tile --slide " in page
    assert summary["invocation"] in page
    assert "Tiny sizes (--quick): the figures mean nothing." in page
    assert {one["verdict"] for one in summary["targets"]} == {UNKNOWN}


def test_what_is_drawn_is_a_slide_of_stored_tiles(tmp_path):
    jpeg, other = (open_slide(drawn_slide(tmp_path, 500, jpeg=each), "stored-tiles") for each in (True, False))
    assert jpeg.size == other.size == (500, 500)
    assert (jpeg._vendor, other._vendor) == ("aperio", "generic-tiff")
    assert jpeg._levels[0] is not None
    assert other._levels == [None]
    before = (tmp_path / "drawn-500.svs").stat().st_mtime_ns
    drawn_slide(tmp_path, 500, jpeg=True)
    assert (tmp_path / "drawn-500.svs").stat().st_mtime_ns == before


def test_targets_are_judged_by_the_worst_slide():
    jpeg = {"a": True, "b": True, "c": False}
    told = [one.verdict for one in verdicts({"a": 3.5, "b": 3.0, "c": 1.0}, jpeg, {100: MEMORY}, False)]
    assert told == [REACHED] * 3
    told = [one.verdict for one in verdicts({"a": 3.5, "b": 2.9, "c": 0.9}, jpeg, {100: MEMORY + 1}, False)]
    assert told == [MISSED] * 3


def test_what_cannot_be_is_a_sentence(tmp_path):
    (tmp_path / "x.svs").write_text("no slide")
    tifffile.imwrite(tmp_path / "small.tif", draw(64), tile=(16, 16))
    for words, said in (
        (("--rounds", 0), "--rounds must be 1 or more, not 0"),
        (("--patch-size", 4), "--patch-size 4: give 8 px or more"),
        (("--slide", tmp_path / "x.svs"), "x.svs cannot be opened"),
        (("--slide", tmp_path / "y.svs"), "y.svs is not there"),
        (("--slide", tmp_path / "small.tif"), "small.tif is smaller than a patch of 224 px"),
    ):
        result = run_main("--out", tmp_path / "out", "--quick", *words)
        assert result.exit_code == 2
        assert said in result.output
        assert not (tmp_path / "out").exists()
