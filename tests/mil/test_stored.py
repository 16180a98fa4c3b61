"""Bags that stay in their files: the same features as in memory, and fits of cohorts that memory does not hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import wsc_ray
from wsc_ray.commands import tune
from wsc_ray.errors import DataError, RecipeError, ResourceError
from wsc_ray.features.store import SlideFeatures, read_slides, slide_path, write_slide
from wsc_ray.mil.bags import Bags, draw_rows, load_bags, slides_of
from wsc_ray.mil.fit import fit_head, predict
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.stored import StoredBags, find_bags

from .cohort import make_bags, write_store

CLASSES = ["negative", "positive"]
SETTING = AttentionSettings(lr=1e-3, weight_decay=1e-4, dropout=0.1, hidden=8, attention=8, gated=True)
ROOT = Path(wsc_ray.__file__).parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "features")


@pytest.fixture(scope="module")
def both(store: Path) -> tuple[Bags, StoredBags]:
    slides = slides_of(read_slides(store).slides.sort_by("slide_id"), "train")
    return load_bags(store, slides, CLASSES), find_bags(store, slides, CLASSES)


def test_they_are_the_same_bags(both: tuple[Bags, StoredBags]) -> None:
    memory, disk = both
    assert disk.digest() == memory.digest()
    assert (len(disk), disk.width, disk.slide_ids) == (len(memory), memory.width, memory.slide_ids)
    assert torch.equal(disk.between(3, 7), memory.between(3, 7))
    for at_most in (None, 5, 1):
        chosen = torch.tensor([7, 0, 3])
        found = []
        for bags in both:
            torch.manual_seed(0)
            found.append(bags.take(chosen, at_most))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])
    for ours, theirs in zip(disk.moments(), memory.moments(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    chosen = [5, 2, 8]
    assert torch.equal(disk.select(chosen).between(0, 3), memory.select(chosen).features)
    for ours, theirs in zip(disk.select(chosen).moments(), memory.select(chosen).moments(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_a_file_in_chunks_is_read_too(both: tuple[Bags, StoredBags], store: Path, tmp_path: Path) -> None:
    """As other tools write them: chunked, compressed, in half precision."""
    memory, _ = both
    slides = slides_of(read_slides(store).slides, "train")
    for slide in memory.slide_ids:
        with h5py.File(slide_path(store, slide)) as theirs, h5py.File(slide_path(tmp_path, slide), "w") as file:
            file.create_dataset(
                "features", data=theirs["features"][:].astype(np.float16), chunks=True, compression="gzip"
            )
            file["coords"] = theirs["coords"][:]
    disk = find_bags(tmp_path, slides, CLASSES)
    torch.manual_seed(0)
    features, offsets = disk.take(torch.tensor([0, 1]), 2)
    assert (features.dtype, offsets.tolist()) == (torch.float32, [0, 2, 4])
    torch.manual_seed(0)
    assert torch.equal(features, memory.take(torch.tensor([0, 1]), 2)[0].half().float())


def test_what_is_wrong_with_features_is_found_before_a_fit(store: Path, tmp_path: Path) -> None:
    slides = slides_of(read_slides(store).slides, "train")
    first = slides["slide_id"][1].as_py()
    patches = slides["patches"][1].as_py()
    for features, message in [
        (np.full((patches, 8), np.nan, np.float32), "not all finite"),
        (np.ones((patches, 9), np.float32), "have 9 dimensions and those of .* 8"),
        (np.ones((patches + 1, 8), np.float32), f"slides.parquet says {patches} patches"),
    ]:
        for path in store.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        coords = np.zeros((len(features), 2), np.int64)
        write_slide(tmp_path, SlideFeatures(first, features, coords), attributes={}, coords_attributes={})
        with pytest.raises(DataError, match=message):
            find_bags(tmp_path, slides, CLASSES)


def test_rows_that_are_drawn(both: tuple[Bags, StoredBags]) -> None:
    offsets = torch.tensor([0, 4, 104, 107])
    rows, packed = draw_rows(offsets, torch.tensor([1, 2, 0]), 10)
    assert packed.tolist() == [0, 10, 13, 17]
    assert rows[10:].tolist() == [104, 105, 106, 0, 1, 2, 3]  # smaller bags whole
    drawn = rows[:10].tolist()
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(range(4, 104))
    seen = {row for _ in range(100) for row in draw_rows(offsets, torch.tensor([1]), 10)[0].tolist()}
    assert len(seen) > 90  # anew each time
    state = torch.get_rng_state()
    draw_rows(offsets, torch.tensor([0, 2]), 10)  # nothing is drawn where nothing is left out,
    draw_rows(offsets, torch.tensor([1]), None)  # so that fits without a limit are what they were
    assert torch.equal(state, torch.get_rng_state())


def fit(bags: Bags | StoredBags, **options: object):
    return fit_head(
        bags, bags, SETTING, **{**dict(classes=2, epochs=4, patience=4, bags_per_step=4, seed=0), **options}
    )


def test_a_fit_from_files_is_the_fit_from_memory(both: tuple[Bags, StoredBags]) -> None:
    memory, disk = (fit(bags, max_instances=6) for bags in both)
    for ours, theirs in zip(disk.history, memory.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    torch.testing.assert_close(predict(disk.head, both[1]), predict(disk.head, both[0]))
    assert fit(both[1], max_instances=6).history == disk.history


def test_a_limit_beyond_every_bag_changes_nothing() -> None:
    bags = make_bags([3, 9, 20, 4, 1, 6])
    assert fit(bags, max_instances=20).history == fit(bags).history
    assert fit(bags, max_instances=5).history != fit(bags).history


def test_bf16_learns_as_fp32_does() -> None:
    """On the CPU, where autocast does the same to each layer; what a GPU gives is in tests/gpu."""
    bags = make_bags([30] * 16)
    bags.features[: len(bags.features)] += bags.labels.repeat_interleave(30)[:, None]
    full, half = fit(bags, epochs=20), fit(bags, epochs=20, bf16=True)
    assert half.history != full.history
    assert half.scores["loss"] == pytest.approx(full.scores["loss"], abs=0.02)
    assert all(value.dtype == torch.float32 for value in half.head.state_dict().values())


LIMITED = """
import json, resource, sys
import torch
from wsc_ray.errors import DataError
from wsc_ray.features.store import read_slides
from wsc_ray.mil.bags import load_bags
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.stored import find_bags
from wsc_ray.storage import as_path

folder, load, room = json.loads(sys.argv[1])
torch.set_num_threads(1)
setting = AttentionSettings(lr=1e-3, weight_decay=1e-4, dropout=0.1, hidden=8, attention=8, gated=True)


def go(folder, load):
    slides = read_slides(as_path(folder)).slides
    bags = {"load_bags": load_bags, "find_bags": find_bags}[load](as_path(folder), slides, ["negative", "positive"])
    options = dict(classes=2, epochs=2, patience=2, bags_per_step=4, seed=0, max_instances=256)
    return fit_head(bags, bags, setting, **options)


go(folder + "/small", load)  # everything that a fit needs besides features is there now
data = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (data + room, data + room))
try:
    print(json.dumps(go(folder + "/large", load).scores))
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private mappings on Linux alone")
def test_a_cohort_of_three_times_the_memory_is_fitted(tmp_path: Path) -> None:
    """The kernel gives the process no more than that memory beyond what it had before it read features."""
    rng = np.random.default_rng(0)
    write_store(tmp_path / "small", slides={"train": 4}, width=64)
    large = write_store(tmp_path / "large", slides={"train": 48}, width=64)
    slides = read_slides(large).slides
    patches = 8192
    for slide in slides["slide_id"].to_pylist():
        features = rng.normal(size=(patches, 64)).astype(np.float32)  # 2 MB
        write_slide(
            large,
            SlideFeatures(slide, features, np.zeros((patches, 2), np.int64)),
            attributes={},
            coords_attributes={},
        )
    counted = slides.set_column(slides.column_names.index("patches"), "patches", [[patches] * slides.num_rows])
    from wsc_ray.features.store import write_slides

    write_slides(large, counted)
    total = slides.num_rows * patches * 64 * 4

    # Freed memory goes back at once: what malloc keeps for later would count too, and differs from run to run.
    environment = {"PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

    def run(load: str) -> str:
        arguments = json.dumps([str(tmp_path), load, total // 3])
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert "more than this machine has; with tune.features: disk, `tune` leaves them in their files" in run("load_bags")
    assert np.isfinite(json.loads(run("find_bags"))["loss"])


@pytest.fixture
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


def test_a_search_from_files(store: Path, tmp_path: Path, ray_here: None, tracked: None) -> None:
    small = ["tune.trials=2", "tune.seeds=2", "tune.epochs=3", "tune.hidden=[8]", "tune.attention=[8]"]
    memory = tune(features=store, out=tmp_path / "memory", overrides=small)
    options = [*small, "tune.features=disk", "tune.cpus_per_trial=0.5", "tune.concurrent=4"]
    disk = tune(features=store, out=tmp_path / "disk", overrides=options)
    assert disk["best"] == memory["best"]
    for name, scores in memory["members"].items():
        assert disk["members"][name] == pytest.approx(scores, rel=1e-4)


def test_what_no_node_has_is_refused(store: Path, tmp_path: Path, ray_here: None, tracked: None) -> None:
    out = tmp_path / "mil"
    for setting, message in [
        ("tune.cpus_per_trial=1000", "tune.cpus_per_trial is 1000, and no node has more than [0-9]+ CPUs"),
        ("tune.gpus_per_trial=0.5", "tune.gpus_per_trial is 0.5, and no node has more than 0 GPUs"),
    ]:
        with pytest.raises(ResourceError, match=message):
            tune(features=store, out=out, overrides=[setting])
    with pytest.raises(RecipeError, match=r"`tune\.precision`: bf16 needs a GPU"):
        tune(features=store, out=out, overrides=["tune.precision=bf16"])
    with pytest.raises(RecipeError, match=r"`tune\.cpus_per_trial`: 1.5: above 1 give a whole number"):
        tune(features=store, out=out, overrides=["tune.cpus_per_trial=1.5"])
    assert not out.exists()
