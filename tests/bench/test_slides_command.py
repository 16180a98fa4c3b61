"""`python -m benchmarks.slides` at tiny sizes, beside wsistream, and what a user can do wrong."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.slides import wsistream
from benchmarks.slides.__main__ import main
from benchmarks.slides.draw import GLASS, LEVELS, drawn_slides
from benchmarks.slides.measure import OURS, VISITS, WSISTREAM
from benchmarks.slides.ours import check_same, slides_of_steps, stream_recipe
from benchmarks.slides.sizes import QUICK
from benchmarks.slides.wsistream import slides_of_batches, stream_loader
from tests.conftest import invoke
from tests.slides.drawn import draw
from tests.slides.jpeg_slides import write_jpeg_slide
from wsc_ray.bench.environment import usable_cores
from wsc_ray.manifest import open_manifest
from wsc_ray.slides.opening import open_slide
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window

ROUNDS, BATCH = 2, 16
CORES = min(2, usable_cores())
run_main = partial(invoke, program=main)


@pytest.fixture(scope="module")
def done(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    slide = write_jpeg_slide(folder / "mine.svs", [draw(500)])
    result = run_main(
        *("--out", folder / "out", "--quick", "--rounds", ROUNDS, "--batch-size", BATCH, "--cores", CORES),
        *("--slide", slide, "--markdown", folder / "slides.md"),
    )
    assert result.exit_code == 0, result.output
    return folder / "out", json.loads((folder / "out" / "summary.json").read_text()), (folder / "slides.md").read_text()


@pytest.fixture(scope="module")
def manifests(done) -> dict[str, Path]:
    folder, _, _ = done
    (lossless,) = folder.glob("lossless-*")
    return {"linked": folder / "linked", "lossless": lossless, "jpeg": folder / "jpeg"}


def test_everybody_has_a_sample_of_as_many_patches_in_each_round(done):
    _, summary, _ = done
    names = [*OURS, *(VISITS if wsistream.installed() else ())]
    assert [(one["name"], one["workers"]) for one in summary["samples"]] == [
        (name, workers) for workers in sorted({1, CORES}) for name in names
    ]
    for one in summary["samples"]:
        assert len(one["samples"]) == ROUNDS
        for sample in one["samples"]:
            assert sample["patches"] == one["workers"] * QUICK.waves * QUICK.window * BATCH
            assert sample["seconds"] > 0
    for row in summary["results"]:
        assert row["value"] > 0
        assert (row["baseline"] is None) == (row["ratio"] is None) == (not wsistream.installed())


def test_the_page_says_how_to_repeat_it_and_what_is_missing(done):
    _, summary, page = done
    assert summary["invocation"] in page
    assert "python -m benchmarks.slides --slide " in page
    assert f"{QUICK.slides + 1} slides ({QUICK.slides} drawn, " in page
    assert "; mine.svs)" in page
    assert "Tiny sizes (--quick): the figures mean nothing." in page
    assert ("wsistream is not installed, and is left out." in page) == (not wsistream.installed())
    for line in (line for line in summary["table"].splitlines() if line.startswith("|")):
        assert line in page


def test_manifests_have_the_same_rows_and_lossless_ones_the_same_pixels(manifests):
    rows = [open_manifest(str(path)).read_rows(["slide_id", "x", "y"]).to_pylist() for path in manifests.values()]
    assert rows[0] == rows[1] == rows[2]
    assert {row["slide_id"] for row in rows[0]} == {"mine", *(f"drawn-{number:03d}" for number in range(QUICK.slides))}
    assert check_same([manifests["linked"], manifests["lossless"]], QUICK, BATCH) > 0
    with pytest.raises(AssertionError, match="images"):
        check_same([manifests["linked"], manifests["jpeg"]], QUICK, BATCH)


def test_mixing_is_of_the_batches_that_are_read(manifests, done):
    _, summary, _ = done
    recipe = stream_recipe(manifests["linked"], QUICK, BATCH, None)
    manifest = open_manifest(str(manifests["linked"]))
    plan = make_plan(manifest, recipe)
    steps = slides_of_steps(plan, manifest)
    geometry = plan.geometry
    assert len(steps) == geometry.steps
    read = {}
    for window in range(geometry.windows):
        where = {"epoch": 0, "window": window, "shards": range(geometry.shards)}
        for batch in read_window(plan, manifest, recipe.augment, **where, stream=recipe.stream):
            read[int(batch["step"][0])] = batch["slide_id"].tolist()
    numbers: dict[str, int] = {}
    for step, expected in enumerate(steps):
        pairs = {(slide, number) for slide, number in zip(read[step], expected.tolist(), strict=True)}
        assert all(numbers.setdefault(slide, number) == number for slide, number in pairs)
    assert len(set(numbers.values())) == len(numbers) == QUICK.slides + 1
    found = summary["mixing"][0]
    assert found["slides"] == pytest.approx(np.mean([len(set(slides)) for slides in read.values()]))


def test_drawn_slides_are_tissue_on_glass_with_smaller_levels(tmp_path):
    path, other = drawn_slides(tmp_path, 2, 960)
    assert path.read_bytes() != other.read_bytes()
    stored, openslide = (open_slide(path, reader) for reader in ("stored-tiles", "openslide"))
    assert stored.size == (960, 960)
    assert stored.downsamples == tuple(2.0**level for level in range(LEVELS))
    assert all(level is not None for level in stored._levels)
    greys = []
    for level in range(LEVELS):
        picture = openslide.read(0, 0, level, 960 >> level, 960 >> level)
        np.testing.assert_array_equal(stored.read(0, 0, level, 960 >> level, 960 >> level), picture)
        px = 8 >> level
        grey = picture.reshape(120, px, 120, px, 3).mean(axis=(1, 3, 4))
        assert np.abs(grey[:5, :5] - GLASS).max() < 2
        assert grey[60, 60] < GLASS - 20
        greys.append(grey)
        assert np.corrcoef(grey.ravel(), greys[0].ravel())[0, 1] > 0.99  # mirrored at its diagonal: 0.88
    before = path.stat().st_mtime_ns
    assert drawn_slides(tmp_path, 2, 960) == [path, other]
    assert path.stat().st_mtime_ns == before


def test_batches_that_read_nothing_come_in_the_order_of_those_that_do(tmp_path):
    slides = drawn_slides(tmp_path, 3, 960)
    for visit in VISITS.values():
        source = iter(stream_loader(slides, 64, 8, 2, visit, seed=0))
        expected = [[Path(path).stem for path in next(source)["slide_path"]] for _ in range(6)]
        blind = slides_of_batches(slides, 64, 8, 2, visit, 6)
        assert [[slides[number].stem for number in batch] for batch in blind] == expected
    assert next(iter(VISITS)) == WSISTREAM


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch-size", 7), "--batch-size must be an even number from 4, not 7"),
        (("--rounds", 0), "--rounds must be 1 or more, not 0"),
        (("--cores", 0), "--cores 0: give 1 or more"),
        (("--slide", "nowhere.svs"), "nowhere.svs is not there"),
        (("--slide", "x.svs"), "x.svs cannot be opened"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    Path("x.svs").write_text("no slide")
    result = run_main("--out", tmp_path / "out", "--quick", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_cluster_is_not_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    result = run_main("--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "RAY_ADDRESS" in result.stderr
    assert not list(tmp_path.iterdir())
