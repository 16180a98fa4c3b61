"""`predict` of slides and of a manifest through tile, embed and a head, on a real Ray: without labels, with slides that have no answer."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch

from tests.conftest import small_recipe
from tests.slides.drawn import draw, write
from wsc_ray.attention.file import read_attention
from wsc_ray.cohort import read_cohort, write_cohort
from wsc_ray.commands import embed, evaluate, predict, pretrain, tile
from wsc_ray.errors import DataError, ManifestError, RunFolderError
from wsc_ray.features.store import read_slide, read_slides
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.predict import sources
from wsc_ray.recipe.reading import validate_recipe

SLIDES = ("n1", "n2", "p1", "p2")
TRAINING = ("n3", "p3")
CLASSES = ["negative", "positive"]


def write_members(head: Path, features: Path) -> None:
    """Two members with random weights, which know the encoder of the features that they would have been fitted to."""
    width = read_slide(features, SLIDES[0]).features.shape[1]
    setting = AttentionSettings(lr=1e-3, weight_decay=0.0, dropout=0.0, hidden=8, attention=8, gated=True)
    for seed in range(2):
        torch.manual_seed(seed)
        module = setting.build(width, 2)
        module.standardise(torch.from_numpy(np.concatenate([read_slide(features, s).features for s in SLIDES])))
        save_head(
            head / "members" / f"seed-{seed}", module, setting, CLASSES, {"embed": encoder_of(features), "seed": seed}
        )


@pytest.fixture(scope="module")
def made(ray_cluster, tmp_path_factory) -> Path:
    """A folder with slides and a run of four of them: cut with an overlap, an encoder, features, a head, an evaluation."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)  # where MLflow's store of last resort lies
    try:
        for number, name in enumerate((*SLIDES, *TRAINING)):
            write(folder / ("slides" if name in SLIDES else "training") / f"{name}.tif", draw(384, seed=number))
        lines = [f"slides/{s}.tif,{'negative' if s[0] == 'n' else 'positive'},test" for s in SLIDES]
        lines += [f"training/{s}.tif,{'negative' if s[0] == 'n' else 'positive'},train" for s in TRAINING]
        (folder / "labelled.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
        tile(slides="labelled.csv", out="cohort", patch_size=32, overlap=8, quality=80)
        recipe = small_recipe(folder / "cohort", f"sqlite:///{folder}/mlflow.db")
        recipe["train"]["epochs"] = 0
        pretrain(recipe=validate_recipe(recipe), out="run")
        embed(run="run")
        write_members(folder / "run" / "mil", folder / "run" / "features")
        evaluate(run="run")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def require_evaluates(made: Path, rows: dict[str, dict[str, str]]) -> None:
    for slide, expected in rows_of(made / "run" / "evaluate").items():
        for name in CLASSES:
            assert float(rows[slide][f"prob_{name}"]) == pytest.approx(float(expected[f"prob_{name}"]), abs=1e-6)


def damaged(source: Path, path: Path, tiles: slice) -> Path:
    """A copy whose overview is whole and some tiles of whose first level are not."""
    data = bytearray(source.read_bytes())
    with tifffile.TiffFile(source) as file:
        page = file.pages[0]
        for place, size in list(zip(page.dataoffsets, page.databytecounts, strict=True))[tiles]:
            data[place : place + size] = bytes(size)
    path.write_bytes(data)
    return path


def test_a_list_without_labels_in_which_some_slides_have_no_answer(made, here, monkeypatch):
    slides = made / "slides"
    write(here / "glass.tif", np.full((512, 512, 3), 243, np.uint8))
    (here / "cut.tif").write_bytes((slides / "n1.tif").read_bytes()[:5000])
    damaged(slides / "p1.tif", here / "hurt.tif", slice(1, 2))
    damaged(slides / "p2.tif", here / "gone.tif", slice(0, None))
    odd = [here / f"{name}.tif" for name in ("glass", "cut", "hurt", "gone")]
    (here / "new.csv").write_text("\n".join(["path", *map(str, odd), *(f"{slides}/{s}.tif" for s in SLIDES)]) + "\n")
    options = {"slides": "new.csv", "run": made / "run", "out": here / "out"}

    def killed(**arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # once the slides are cut
        real = sources.embed_slides
        patch.setattr(sources, "embed_slides", lambda **a: real(**a) if a.get("dry_run") else killed(**a))
        with pytest.raises(KeyboardInterrupt):
            predict(**options)
    assert not (here / "out" / "predictions.csv").exists()
    kept = {path: path.stat().st_mtime_ns for path in (here / "out" / "manifest" / "patches").iterdir()}
    summary = predict(**options, geojson=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    rows = rows_of(here / "out")
    assert list(rows) == ["glass", "cut", "hurt", "gone", *SLIDES]
    assert (summary["slides_predicted"], summary["slides_not_predicted"]) == (5, 3)
    require_evaluates(made, rows)
    for slide, reason in (
        ("glass", "no patch with 50% tissue"),
        ("cut", "cannot be read: "),
        ("gone", "patches cannot be read: "),
    ):
        assert reason in rows[slide]["note"]
        assert rows[slide]["prob_positive"] == rows[slide]["predicted"] == ""
        assert rows[slide]["patches"] == "0"
        assert not (here / "out" / "attention" / f"{slide}.h5").exists()
    assert "patches cannot be read: " in rows["hurt"]["note"]
    assert float(rows["hurt"]["prob_positive"]) > 0
    for slide in SLIDES:
        assert rows[slide]["note"] == ""
        own, found = read_slide(made / "run" / "features", slide), read_attention(here / "out" / "attention", slide)
        assert sorted(map(tuple, found.coords.tolist())) == sorted(map(tuple, own.coords.tolist()))
        told = {name: found.attributes[name] for name in ("patch_size", "patch_size_level0", "overlap")}
        assert told == {"patch_size": 32, "patch_size_level0": 32, "overlap": 8}
        assert found.attributes["mpp"] == pytest.approx(0.5, rel=1e-3)
        assert (here / "out" / "geojson" / f"{slide}.geojson").is_file()
    assert set(read_cohort(here / "out" / "manifest").slides["label"].to_pylist()) == {None}
    again = predict(**options)
    assert again["mlflow"] == summary["mlflow"]
    assert rows_of(here / "out") == rows
    (here / "new.csv").write_text(f"path\n{slides}/n1.tif\n")
    with pytest.raises(RunFolderError, match="other slides"):
        predict(**options)


def test_glass_alone_is_a_row(made, here):
    write(here / "slides" / "glass.tif", np.full((512, 512, 3), 243, np.uint8))
    summary = predict(slides=here / "slides", run=made / "run", out=here / "out")  # a folder of slides
    (row,) = rows_of(here / "out").values()
    assert row["note"] == "it has no patch with 50% tissue"
    assert summary["slides_predicted"] == 0
    assert not (here / "out" / "features").exists()


@pytest.mark.parametrize("linked", [False, True], ids=["pixels", "links"])
def test_a_manifest_without_labels_one_of_whose_images_is_damaged(made, here, linked):
    if linked:
        for slide in SLIDES:
            source = made / "slides" / f"{slide}.tif"
            (here / f"{slide}.tif").write_bytes(source.read_bytes())
        names = "\n".join(f"{s}.tif" for s in SLIDES)
        (here / "list.csv").write_text(f"path\n{names}\n")
        tile(slides="list.csv", out="m", patch_size=32, overlap=8, link=True, constants={"label": "x", "split": "y"})
        damaged(here / "p2.tif", here / "p2.tif", slice(0, None))
    else:
        (here / "m" / "patches").mkdir(parents=True)
        for path in (made / "cohort" / "patches").iterdir():
            table = pq.read_table(path)
            broken = [i for i, s in enumerate(table["slide_id"].to_pylist()) if s == "p2"][3]
            images = table["image"].to_pylist()
            images[broken] = b"no image"
            table = table.set_column(table.column_names.index("image"), "image", pa.array(images, pa.binary()))
            pq.write_table(table.replace_schema_metadata(None), here / "m" / "patches" / path.name, row_group_size=64)
    if linked:  # what `tile` wrote has a table of slides; the other one is somebody's, of patches alone
        write_cohort(here / "m", read_cohort(here / "m").slides.select(["slide_id", "patient_id"]))
    summary = predict(manifest=str(here / "m"), run=made / "run", out=here / "out")
    rows = rows_of(here / "out")
    assert summary["slides_not_predicted"] == 1
    assert rows["p2"]["note"].startswith("it cannot be read: slide p2, x ")
    assert rows["p2"]["predicted"] == ""
    if not linked:
        rows["p2"] = rows_of(made / "run" / "evaluate")["p2"]
        require_evaluates(made, rows)
    assert "p2" not in read_slides(here / "out" / "features").ids


def test_what_is_wrong_as_a_whole_is_refused_before_anything_is_written(made, here, wsc_ray_command):
    other = small_recipe(made / "cohort", f"sqlite:///{made}/mlflow.db") | {"seed": 9}
    other["train"]["epochs"] = 0
    pretrain(recipe=validate_recipe(other), out=here / "other")
    before = sorted(here.rglob("*"))
    command = ("predict", made / "slides", "--run", made / "run", "--out", here / "out")
    status, text = wsc_ray_command(*command, "--encoder", here / "other" / "encoder")
    assert status == 2
    assert "is another encoder than the one whose features" in text
    assert len(text.strip().splitlines()) == 1
    with pytest.raises(DataError, match="--tissue"):
        predict(slides=made / "slides", run=made / "run", out=here / "out", tissue=2.0)
    (here / "odd.csv").write_text(f"path,slide_id\n{made}/slides/n1.tif,<script>alert(1)</script>\n")
    (here / "path.csv").write_text(f"path,slide_id\n{made}/slides/n1.tif,../../n1\n")
    for name in ("odd.csv", "path.csv"):
        with pytest.raises(ManifestError, match="cannot be a file name"):
            predict(slides=name, run=made / "run", out=here / "out")
        (here / name).unlink()
    assert sorted(here.rglob("*")) == before
    plan = predict(slides=made / "slides", run=made / "run", out=here / "out", dry_run=True)
    assert (plan["mpp"], plan["patch_size"], plan["overlap"], plan["slides"]) == (0.5, 32, 8, 4)
    assert sorted(here.rglob("*")) == before


def test_the_cuts_settings_come_from_the_manifest_and_options_go_over_them(made, here):
    from wsc_ray.predict.cutting import Cutting, choose_cutting

    known = choose_cutting(str(made / "cohort"))
    assert (known.mpp, known.patch_size, known.overlap, known.quality, known.link) == (0.5, 32, 8, 80, False)
    assert choose_cutting(str(made / "cohort"), mpp=1.0, overlap=None).mpp == 1.0
    assert choose_cutting(str(here / "gone"), mpp=1.0, patch_size=64) == Cutting(1.0, 64)
    with pytest.raises(DataError, match="--mpp and --patch-size: give the scale"):
        choose_cutting(str(here / "gone"))
