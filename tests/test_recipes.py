"""The recipes in `jobs/recipes/` and the way from Camelyon16's files to its manifest that their README describes."""

import io
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from wsc_ray.recipe import Recipe
from wsc_ray.recipe_file import load_recipe

FOLDER = Path(__file__).resolve().parents[1] / "jobs" / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))
PAPERS = ("camelyon16", "rvt", "kidney_metastasis")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_one(path):
    recipe = load_recipe(path)
    assert load_recipe(path, ["data.manifest=elsewhere"]).data.manifest == "elsewhere"
    assert recipe.data.pure
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_are_the_papers(name):
    """Written out, and equal to the defaults, which `test_recipe` compares with the paper's numbers."""
    path = FOLDER / f"{name}.yaml"
    written, recipe = yaml.safe_load(path.read_text()), load_recipe(path)
    assert recipe == Recipe(data=recipe.data)
    for section, keys in {"encoder": 5, "loss": 5, "augment": 10, "stream": 1, "train": 12}.items():
        assert len(written[section]) >= keys, section
    assert (recipe.data.pure, recipe.data.mixed) == (["negative"], ["positive"])
    assert f"--set data.manifest={recipe.data.manifest} " in path.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (FOLDER / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def camelyon16(tmp_path, monkeypatch):
    """A folder as it is after the README's first two steps, with tiny slides: (slide, rows of patches it has)."""
    monkeypatch.chdir(tmp_path)
    images, coordinates = Path("CAMELYON16/images"), Path("trident/20x_256px_0px_overlap/patches")
    for folder in (images, coordinates, Path("CAMELYON16/evaluation")):
        folder.mkdir(parents=True)
    patches = {
        "normal_001": 3,
        "normal_002": 2,
        "tumor_001": 2,
        "tumor_002": 0,
        "test_001": 2,
        "test_002": 1,
        "test_003": 1,
    }
    for number, (slide, rows) in enumerate(patches.items()):
        pixels = np.full((600, 1600, 3), 20 * number, np.uint8)
        pixels[:, 512:] = 250  # all patches but a slide's first
        Image.fromarray(pixels).save(images / f"{slide}.tif")
        with h5py.File(coordinates / f"{slide}_patches.h5", "w") as file:
            coords = file.create_dataset("coords", data=np.array([(i * 512, 0) for i in range(rows)]).reshape(rows, 2))
            coords.attrs.update(patch_size=256, patch_size_level0=512, overlap=0)
    # test_003 has no label, as some slides of the original had not.
    Path("CAMELYON16/evaluation/reference.csv").write_text(
        "image,class,type,center\ntest_001.tif,Tumor,IDC,1\ntest_002.tif,Normal,None,2\n"
    )
    return patches


def test_camelyon16_from_slides_to_manifest(camelyon16, wsc_ray_command):
    (cut,) = blocks("python")
    exec(compile(cut, "cut.py", "exec"), {})  # noqa: S102
    (commands,) = blocks("bash")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "wsc-ray"
        status, text = wsc_ray_command(*arguments)
        assert status == 0, text
    table = pq.read_table("camelyon16/patches")
    rows = table.to_pylist()
    slides = {row["slide_id"]: (row["label"], row["split"]) for row in rows}
    assert slides == {
        "normal_001": ("negative", "train"),
        "normal_002": ("negative", "train"),
        "tumor_001": ("positive", "train"),
        "test_001": ("positive", "test"),
        "test_002": ("negative", "test"),
    }
    assert {row["patient_id"] for row in rows} == set(slides)
    for slide in slides:
        assert sum(row["slide_id"] == slide for row in rows) == camelyon16[slide]
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]))
        assert image.size == (256, 256) == (row["patch_size"], row["patch_size"])
        bright = np.asarray(image).mean() > 200
        assert bright == (row["x"] >= 512)  # the pixels are those of the place that the row names


def test_cutting_goes_on_where_it_stopped(camelyon16):
    (cut,) = blocks("python")
    exec(compile(cut, "cut.py", "exec"), {})  # noqa: S102
    written = {path: path.stat().st_mtime_ns for path in Path("patches").iterdir()}
    lost = Path("patches/tumor_001.parquet")
    lost.unlink()
    exec(compile(cut, "cut.py", "exec"), {})  # noqa: S102
    again = {path: path.stat().st_mtime_ns for path in Path("patches").iterdir()}
    assert again.keys() == written.keys()
    assert {path for path in again if again[path] != written[path]} == {lost}
