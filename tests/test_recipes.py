"""The recipes in `jobs/recipes/` and the way from Camelyon16's files to its manifest that their README describes."""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tests.slides.drawn import draw, write
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Loss, Recipe

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
    """Written out, and equal to the defaults, which `test_recipe` compares with the paper's numbers, but for the constant weight."""
    path = FOLDER / f"{name}.yaml"
    written, recipe = yaml.safe_load(path.read_text()), load_recipe(path)
    assert recipe == Recipe(tile=recipe.tile, data=recipe.data, loss=Loss(similarity_warmup=0))
    for section, keys in {"encoder": 5, "loss": 5, "augment": 10, "stream": 1, "train": 12}.items():
        assert len(written[section]) >= keys, section
    assert (recipe.data.pure, recipe.data.mixed) == (["negative"], ["positive"])
    assert f"--set data.manifest={recipe.data.manifest} " in path.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (FOLDER / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def camelyon16(tmp_path, monkeypatch):
    """A folder as it is after the README's first step, with small slides; the slides' pictures."""
    monkeypatch.chdir(tmp_path)
    Path("CAMELYON16/evaluation").mkdir(parents=True)
    Path("jobs").symlink_to(FOLDER.parent)
    names = ("normal_001", "normal_002", "tumor_001", "tumor_002", "test_001", "test_002", "test_003")
    pictures = {name: draw(1536, seed=number) for number, name in enumerate(names)}
    pictures["tumor_002"][:] = 245  # nothing on the glass
    for name, picture in pictures.items():
        write(Path(f"CAMELYON16/images/{name}.tif"), picture, mpp=0.243)
    # test_003 has no label, as some slides of the original had not.
    Path("CAMELYON16/evaluation/reference.csv").write_text(
        "image,class,type,center\ntest_001.tif,Tumor,IDC,1\ntest_002.tif,Normal,None,2\n"
    )
    return pictures


def test_camelyon16_from_slides_to_manifest(ray_cluster, camelyon16, wsc_ray_command):
    (script,) = blocks("python")
    exec(compile(script, "list.py", "exec"), {})  # noqa: S102
    (commands,) = blocks("bash")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "wsc-ray"
        status, text = wsc_ray_command(*arguments)
        assert status == 0, text
    rows = pq.read_table("camelyon16/patches").to_pylist()
    table = pq.read_table("camelyon16/slides.parquet").to_pylist()
    slides = {row["slide_id"]: (row["label"], row["split"]) for row in table}
    assert slides == {
        "normal_001": ("negative", "train"),
        "normal_002": ("negative", "train"),
        "tumor_001": ("positive", "train"),
        "tumor_002": ("positive", "train"),
        "test_001": ("positive", "test"),
        "test_002": ("negative", "test"),
    }
    assert {row["patient_id"] for row in table} == set(slides)
    assert {row["slide_id"] for row in rows} == set(slides) - {"tumor_002"}, "it has no tissue"
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]))
        assert image.size == (256, 256) == (row["patch_size"], row["patch_size"])
        x, y, side = row["x"], row["y"], row["patch_size_level0"]
        place = camelyon16[row["slide_id"]][y : y + side, x : x + side]
        difference = np.asarray(image.resize((16, 16))) - np.asarray(Image.fromarray(place).resize((16, 16)), float)
        assert np.abs(difference).mean() < 5, "the pixels are those of the place that the row names"
