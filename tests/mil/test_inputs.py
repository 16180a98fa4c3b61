import pyarrow as pa
import pytest

from wsc_ray.errors import DataError
from wsc_ray.mil.inputs import fitting_slides
from wsc_ray.recipe.sections import Data, Recipe


def table(*rows: tuple[str, str, str, int]) -> pa.Table:
    """Rows of patient, label, split, patches."""
    return pa.Table.from_pylist(
        [
            {"slide_id": f"s{i}", "patient_id": patient, "label": label, "split": split, "patches": patches}
            for i, (patient, label, split, patches) in enumerate(rows)
        ],
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
