import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from wsc_ray.commands import evaluate
from wsc_ray.errors import RunFolderError
from wsc_ray.evaluate.describe import describe
from wsc_ray.evaluate.ledger import LEDGER, Opening, digest_of_slides, last_opening, read_ledger, record
from wsc_ray.storage import as_path

from .test_members import add_members
from .test_run import FAST, made, places, tracked

__all__ = ["made", "places", "tracked"]
OPENING = Opening("evaluate", "c" * 64, "split test", 16, "h" * 64, None, "f" * 64, "r" * 64)


def test_every_opening_is_counted_and_a_repeat_is_known(tmp_path: Path) -> None:
    assert record(tmp_path, OPENING) == {"opening": 1, "heads": 1, "repeats": 0, "repeat": False}
    assert record(tmp_path, OPENING) == {"opening": 2, "heads": 1, "repeats": 1, "repeat": True}
    other = replace(OPENING, head="other")
    assert record(tmp_path, other) == {"opening": 3, "heads": 2, "repeats": 1, "repeat": False}
    assert record(tmp_path, replace(OPENING, cohort="another"))["opening"] == 1
    lines = read_ledger(tmp_path)
    assert [line["repeat"] for line in lines] == [False, True, False, False]
    assert lines[0]["when"].endswith("Z")


def test_an_evaluation_that_was_killed_after_its_line_adds_no_second_one(tmp_path: Path) -> None:
    first = {"opening": 1, "heads": 1, "repeats": 0, "repeat": False}
    assert record(tmp_path, OPENING, run_id="a") == first
    assert record(tmp_path, OPENING, run_id="a") == first, "killed before it wrote its results"
    assert record(tmp_path, OPENING, run_id="a", completed=1) == {**first, "opening": 2, "repeats": 1, "repeat": True}
    assert record(tmp_path, OPENING, run_id="b")["opening"] == 3, "another evaluation"
    assert record(tmp_path, OPENING, run_id="a", completed=1)["opening"] == 3, "killed again, and another came between"
    assert record(tmp_path, replace(OPENING, head="other"), run_id="b")["opening"] == 4, "of another head"
    assert len(read_ledger(tmp_path)) == 4


@pytest.mark.parametrize(
    ("summary", "number"), [(None, 0), ({}, 0), ({"ledger": None}, 0), ({"ledger": {"opening": 3}}, 3)]
)
def test_which_opening_a_summary_tells_of(summary: dict[str, object] | None, number: int) -> None:
    assert last_opening(summary) == number


def _record(folder: Path, number: int) -> None:
    for _ in range(5):
        record(folder, replace(OPENING, head=str(number)))


def test_lines_of_commands_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_record, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(read_ledger(tmp_path)) == 20
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER]


@pytest.mark.parametrize(
    "text", ["{", "[]\n", '{"when": 1}\n', json.dumps({"cohort": "a"}) + "\nhalf", "\xbe", "[" * 9999]
)
def test_a_spoiled_ledger_is_not_written_over(tmp_path: Path, text: str) -> None:
    (tmp_path / LEDGER).write_text(text, encoding="latin-1")
    with pytest.raises(RunFolderError, match="is no line of a ledger"):
        record(tmp_path, OPENING)
    assert (tmp_path / LEDGER).read_text(encoding="latin-1") == text


def test_the_digest_is_of_slides_patients_and_labels() -> None:
    table = pa.table({"slide_id": ["a", "b"], "patient_id": ["p", "q"], "label": ["x", "y"], "patches": [1, 2]})
    digest = digest_of_slides(table)
    assert digest == digest_of_slides(table.take([1, 0]))
    assert digest == digest_of_slides(table.set_column(3, "patches", pa.array([5, 5])))
    for name in ("slide_id", "patient_id", "label"):
        index = table.column_names.index(name)
        assert digest != digest_of_slides(table.set_column(index, name, pa.array(["b", "z"]))), name


def test_an_evaluation_says_how_often_its_slides_were_opened(places: dict[str, Path], mlflow_store: str) -> None:
    assert evaluate(**places, dry_run=True)["opened_before"] == 0
    assert not (places["head"] / LEDGER).exists()
    first = evaluate(**places, overrides=FAST)
    again = evaluate(**places, overrides=FAST)
    assert (first["ledger"]["opening"], first["ledger"]["repeat"]) == (1, False)
    assert (again["ledger"]["opening"], again["ledger"]["repeat"]) == (2, True)
    assert "opened 2 times for 1 head, 1 of them to repeat an evaluation; this time: the same" in describe(again)
    other = evaluate(**places, overrides=[*FAST, "evaluate.confidence=0.9"])
    assert (other["ledger"]["opening"], other["ledger"]["heads"], other["ledger"]["repeat"]) == (3, 1, False)
    assert evaluate(**places, dry_run=True)["opened_before"] == 3
    run = MlflowClient(mlflow_store).get_run(other["mlflow"]["run_id"])
    lines = read_ledger(as_path(places["head"]))
    assert run.data.metrics["test_openings"] == 3
    assert run.data.tags["wsc_ray.test.cohort"] == lines[-1]["cohort"]
    assert lines[0]["recipe"] != lines[2]["recipe"]


def test_what_was_opened_before_leaves_out_the_line_of_an_attempt_that_was_killed(places: dict[str, Path]) -> None:
    out = Path(evaluate(**places, overrides=FAST)["out"])
    (out / "summary.json").unlink()  # as if: killed before it wrote its summary
    again = evaluate(**places, overrides=FAST)
    assert (again["ledger"]["opening"], again["opened_before"]) == (1, 0)
    assert evaluate(**places, overrides=FAST)["opened_before"] == 1


def test_another_head_of_a_run_counts_in_the_same_ledger(places: dict[str, Path]) -> None:
    run = places["out"].parent
    (run / "run.json").write_text('{"format": 1}')
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 100}\n")
    evaluate(run=run)
    add_members({**places, "head": run / "other"})
    again = evaluate(run=run, head=run / "other", out=run / "second")
    assert again["ledger"]["heads"] == again["ledger"]["opening"] == 2
    assert len(read_ledger(run)) == 2
