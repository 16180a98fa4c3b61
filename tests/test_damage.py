"""Damaged, cut and foreign files in a run folder: the command that trusts them says so in one sentence, with exit status 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import invoke, small_recipe
from tests.mil.cohort import write_store
from wsc_ray import checksums
from wsc_ray.commands import evaluate, pretrain
from wsc_ray.features.store import read_slides, slide_path
from wsc_ray.files import read_json, write_summary
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.inputs import fitting_slides
from wsc_ray.mil.trials import Trial, trial_folder, write_fit, write_record
from wsc_ray.pretrain.metrics_file import MetricsWriter
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stage import write_identity

SETTING = AttentionSettings(lr=5e-3, weight_decay=1e-4, dropout=0.0, hidden=8, attention=8, gated=True)
CLASSES = ["negative", "positive"]


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 2
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="latin-1")


DAMAGES = {
    "a bit of the beginning": lambda path: flip(path, 0.1),
    "a bit of the middle": flip,
    "cut": cut,
    "empty": foreign(""),
    "a page": foreign("<html><body>403 Forbidden</body></html>"),
}
OTHER_JSON = {
    name: foreign(text)
    for name, text in {
        "a number": "5",
        "null": "null",
        "a list": "[]",
        "text": '"a"',
        "no keys": "{}",
        "deep": "[" * 100_000,
        "not UTF-8": '{"a": "\xff"}',
        "many digits": '{"a": ' + "9" * 5_000 + "}",
    }.items()
}


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with all that later commands trust, made without Ray; its encoder is untrained."""
    folder = tmp_path_factory.mktemp("whole")
    settings = small_recipe(manifest, f"sqlite:///{folder}/mlflow.db")
    settings["train"]["epochs"] = 0
    settings["tune"]["trials"] = 1
    recipe = validate_recipe(settings)
    run = folder / "run"
    pretrain(recipe=recipe, out=run)
    writer = MetricsWriter(run / "metrics.jsonl", 0)
    for step in range(1, 40):
        writer.append(step, {"loss": 0.5, "patches_per_second": 10.0})
    features = write_store(run / "features", shift=1.0)
    slides = read_slides(features).slides
    bags = load_bags(features, slides_of(slides, "train"), CLASSES)
    fit = fit_head(bags, bags, SETTING, classes=2, epochs=2, patience=2, bags_per_step=4, seed=0)
    save_head(run / "mil", fit.head, SETTING, CLASSES)
    fitting_slides(slides, recipe)
    write_identity(run / "mil", "tune", {})
    write_identity(features, "embed", {"encoder": "0" * 64, "size": 32})
    write_fit(run / "mil", 0, SETTING, fit, CLASSES)
    write_record(run / "mil", Trial(0, SETTING, fit.scores, 1, 2, 1.0))
    write_summary(run / "mil", "tune", {})
    evaluate(run=run)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "run", tmp_path / "run")
    return tmp_path / "run"


EMBED = ("embed", "--encoder", "{run}/encoder", "--run", "{run}", "--out", "{run}/elsewhere", "--dry-run")
EVALUATE = ("evaluate", "--run", "{run}")
TUNE = ("tune", "--run", "{run}", "--out", "{run}/mil", "--dry-run")
PRETRAIN = ("pretrain", "{run}/../recipe.yaml", "--out", "{run}")
TRUSTED = [
    ("identity.json", EVALUATE, True),
    ("recipe.yaml", EVALUATE, False),
    ("mlflow.json", PRETRAIN, True),
    ("metrics.jsonl", PRETRAIN, False),
    ("encoder/config.json", EMBED, True),
    ("encoder/model.safetensors", EMBED, False),
    ("features/identity.json", EVALUATE, True),
    ("features/slides.parquet", EVALUATE, False),
    ("features/test-003.h5", EVALUATE, False),
    ("mil/config.json", EVALUATE, True),
    ("mil/model.safetensors", EVALUATE, False),
    ("mil/trials/trial-000/trial.json", TUNE, True),
    ("evaluate/mlflow.json", EVALUATE, True),
    ("evaluate/identity.json", EVALUATE, True),
]
KEYLESS = ("features/identity.json", "evaluate/identity.json")  # older ones say as little, and nothing is decided by it


@pytest.mark.parametrize(("name", "command", "is_json"), TRUSTED, ids=[name for name, _, _ in TRUSTED])
def test_a_damaged_file_is_one_sentence_that_names_it(
    run: Path, name: str, command: tuple[str, ...], is_json: bool, manifest: Path
) -> None:
    settings = small_recipe(manifest)
    settings["train"]["epochs"] = 0
    (run.parent / "recipe.yaml").write_text(validate_recipe(settings).to_yaml())
    (run / "summary.json").unlink()  # of a run that is to be finished
    words = [word.format(run=run) for word in command]
    before = (run / name).read_bytes()
    for what, damage in {**DAMAGES, **(OTHER_JSON if is_json else {})}.items():
        damage(run / name)
        if name == "metrics.jsonl" and what in ("cut", "empty"):  # as a run that is killed leaves it
            continue
        result = invoke(*words)
        if what == "no keys" and name in KEYLESS:
            assert result.exit_code == 0, result.output
            (run / name).write_bytes(before)
            continue
        assert result.exit_code == 2, f"{what}: {result.output}"
        said = [line for line in result.output.splitlines() if line.startswith("wsc-ray: ")]
        assert len(said) == 1, f"{what}: {result.output}"
        assert Path(name).name in said[0] or Path(name).parent.name in said[0], f"{what}: {said[0]}"
        assert len(said[0]) < 700
        assert "Traceback" not in result.output
        (run / name).write_bytes(before)


def test_every_file_of_a_run_has_its_checksum(run: Path) -> None:
    """A new kind of file that commands trust does not come without one."""
    tables = {"predictions.csv", "member_predictions.csv", "confusion.csv"}  # for people, and as other tools write them
    lines = {"metrics.jsonl", "ledger.jsonl"}  # looked at line by line
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in {*tables, *lines, ".lock"}]
    lacking = [str(path.relative_to(run)) for path in files if checksums.KEY.encode() not in path.read_bytes()]
    assert lacking == []


def test_older_folders_have_none_and_are_read(run: Path) -> None:
    first = evaluate(run=run)
    for path in run.rglob("*.json"):
        values = read_json(path)
        path.write_text(json.dumps(values))
    lines = (run / "recipe.yaml").read_text().splitlines()
    (run / "recipe.yaml").write_text("\n".join(lines[1:]))
    for path in (run / "features").glob("*.h5"):
        with h5py.File(path) as old:
            values = {name: (data[:], dict(data.attrs)) for name, data in old.items()}
        with h5py.File(path, "w") as new:
            for name, (data, attributes) in values.items():
                new.create_dataset(name, data=data).attrs.update(attributes)
    assert evaluate(run=run)["metrics"] == first["metrics"]


def test_a_recipe_that_was_changed_by_hand_says_how(run: Path) -> None:
    text = (run / "recipe.yaml").read_text()
    changed = text.replace("bootstrap: 100", "bootstrap: 150")
    assert changed != text
    (run / "recipe.yaml").write_text(changed)
    result = invoke(*EVALUATE[:2], run)
    assert result.exit_code == 2
    assert "delete its first line" in result.output
    (run / "recipe.yaml").write_text("\n".join(changed.splitlines()[1:]))
    assert invoke(*EVALUATE[:2], run).exit_code == 0


def test_features_that_hold_something_else_are_a_sentence(run: Path) -> None:
    """Whole HDF5 files, of other programs or put together by hand."""
    path = slide_path(run / "features", "test-003")
    with h5py.File(path) as opened:
        features, coords = opened["features"][:], opened["coords"][:]
    others = {
        "no features": {"coords": coords},
        "no coordinates": {"features": features},
        "fewer": {"features": features[:-1], "coords": coords[:-1]},
        "words": {"features": np.full(features.shape, b"a"), "coords": coords},
        "a number": {"features": 5.0, "coords": coords},
        "a batch of one": {"features": features[None], "coords": coords[None]},
        "complex": {"features": features.astype(complex), "coords": coords},
        "not finite": {"features": np.full_like(features, np.nan), "coords": coords},
        "other width": {"features": features[:, :-1], "coords": coords},
        "coordinates of words": {"features": features, "coords": np.full(coords.shape, b"a")},
        "coordinates that are no numbers": {"features": features, "coords": np.full(coords.shape, np.nan)},
        "patch labels of words": {"features": features, "coords": coords, "patch_label": np.full(len(features), b"a")},
        "fewer patch labels": {"features": features, "coords": coords, "patch_label": np.zeros(2, np.int8)},
    }
    for what, datasets in others.items():
        with h5py.File(path, "w") as new:
            for name, data in datasets.items():
                new.create_dataset(name, data=data)
        result = invoke("evaluate", "--run", run)
        assert result.exit_code == 2, f"{what}: {result.output}"
        assert "test-003" in result.output
    with h5py.File(path, "w") as new:
        new.create_group("features")
        new.create_group("coords")
    assert invoke("evaluate", "--run", run).exit_code == 2


def test_a_damaged_summary_lets_the_command_come_to_its_end_again(run: Path, manifest: Path) -> None:
    settings = small_recipe(manifest)
    settings["train"]["epochs"] = 0
    recipe = validate_recipe(settings)
    (run / "metrics.jsonl").unlink()
    first = read_json(run / "summary.json")
    assert trial_folder(run / "mil", 0).is_dir()
    for damage in (*DAMAGES.values(), *OTHER_JSON.values()):
        damage(run / "summary.json")
        again = pretrain(recipe=recipe, out=run)
        assert {**again, "seconds": 0, "mlflow": 0} == {
            **first,
            "seconds": 0,
            "mlflow": 0,
            "out": again["out"],
            "encoder": again["encoder"],
        }
