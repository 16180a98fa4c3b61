from pathlib import Path

import pyarrow as pa
import pytest

from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.features.store import SLIDES_SCHEMA
from wsc_ray.mil.inputs import claim, fitting_slides, places, run_and_recipe
from wsc_ray.recipe.sections import Data, Recipe


def table(*rows: tuple[str, str, str, int]) -> pa.Table:
    """Rows of patient, label, split, patches."""
    return pa.Table.from_pylist(
        [
            {"slide_id": f"s{i}", "patient_id": patient, "label": label, "split": split, "patches": patches}
            for i, (patient, label, split, patches) in enumerate(rows)
        ],
        schema=SLIDES_SCHEMA,
    )


TRAIN = [(f"p{i}", ("negative", "positive")[i % 2], "train", 5) for i in range(10)]


def patients(slides: pa.Table) -> set[str]:
    return set(slides["patient_id"].to_pylist())


def test_the_manifests_validation_split_is_used() -> None:
    val = [("v0", "negative", "val", 5), ("v1", "positive", "val", 5)]
    classes, fit, choose = fitting_slides(table(*TRAIN, *val, ("t", "other", "test", 5)), Recipe())
    assert classes == ["negative", "positive"]
    assert (len(patients(fit)), patients(choose)) == (10, {"v0", "v1"})


def test_without_one_it_is_made_of_training_patients() -> None:
    slides = table(*TRAIN, *[(p, label, split, 0) for p, label, split, _ in TRAIN], ("t", "positive", "test", 5))
    _, fit, choose = fitting_slides(slides, Recipe())
    assert not patients(fit) & patients(choose)
    assert patients(fit) | patients(choose) == {f"p{i}" for i in range(10)}
    assert fit.num_rows + choose.num_rows == 20  # empty slides stay, to be counted


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("t", "positive", "test", 5)], "no slide is in split `train`"),
        ([*TRAIN, ("p3", "positive", "val", 5)], "patient p3 has slides in split `train` and in split `val`"),
        ([*TRAIN, ("v", "positive", "val", 5)], "label negative is in split `train` and not in `val`"),
        ([*TRAIN, ("v", "mitosis", "val", 5)], "label mitosis is in split `val` and not in `train`"),
        ([("a", "negative", "train", 5), ("b", "positive", "train", 0)], "one label only"),
        ([*TRAIN[:2], *TRAIN[::2]], "positive has slides of one patient only"),
    ],
)
def test_slides_that_no_head_can_be_chosen_on(rows: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitting_slides(table(*rows), Recipe())


def test_a_label_that_the_recipe_does_not_name() -> None:
    with pytest.raises(DataError, match=r"label positive is neither in data\.pure nor in data\.mixed"):
        fitting_slides(table(*TRAIN), Recipe(data=Data(mixed=["tumour"])))


def test_missing_options_are_reported_together() -> None:
    with pytest.raises(RecipeError, match="2 problems") as caught:
        places("tune", features=(None, None), out=(None, None))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["--features", "--out"]
    assert str(places("tune", out=("s3://bucket/mil", None))[0]) == "s3://bucket/mil"
    assert places("tune", a=(None, Path("/run/a")), b=("/other", Path("/run/b"))) == [Path("/run/a"), Path("/other")]


def test_a_folder_that_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        run_and_recipe(tmp_path, None, ())


def test_a_folder_with_other_things_is_not_written_into(tmp_path: Path) -> None:
    claim(tmp_path / "new", "mark")
    (tmp_path / "mlflow.json").touch()
    claim(tmp_path, "mark", own=("mlflow.json",))
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(RunFolderError, match=r"is taken \(thesis.docx\)"):
        claim(tmp_path, "mark", own=("mlflow.json",))
    (tmp_path / "mark").touch()
    claim(tmp_path, "mark")
    with pytest.raises(RunFolderError, match="is a file"):
        claim(tmp_path / "mark", "mark")
