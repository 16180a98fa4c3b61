import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from wsc_ray.commands import evaluate
from wsc_ray.errors import DataError, RecipeError, RunFolderError, UserError
from wsc_ray.evaluate.compare import bootstrap_p, compare, pair
from wsc_ray.evaluate.compare_run import describe_comparison
from wsc_ray.evaluate.predictions import read_predictions
from wsc_ray.features.store import SlideFeatures, write_slide
from wsc_ray.files import read_json

from .test_members import add_members
from .test_run import FAST, change, made, places, tracked

__all__ = ["made", "places", "tracked"]
SLIDES = 40


def write(path: Path, positive: np.ndarray, *, labels: bool = True, patients: bool = True, order=None, **more) -> Path:
    """A table of predictions; a patient has two slides."""
    order = range(len(positive)) if order is None else order
    rows = []
    for i in order:
        row = {"slide_id": f"s{i}"}
        row |= {"patient_id": f"p{i // 2}"} if patients else {}
        row |= {"label": ["negative", "positive"][i // 2 % 2]} if labels else {}
        rows.append(row | {"prob_negative": 1 - positive[i], "prob_positive": positive[i]} | more)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def scores(seed: int, shift: float, count: int = SLIDES) -> np.ndarray:
    labels = np.arange(count) // 2 % 2
    return 1 / (1 + np.exp(-(np.random.default_rng(seed).normal(size=count) + shift * (labels - 0.5))))


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Predictions of ours, of somebody without labels in another order, and bad ones."""
    return [
        write(tmp_path / "a.csv", scores(0, 3)),
        write(tmp_path / "b.csv", scores(1, 1), labels=False, patients=False, order=range(SLIDES)[::-1]),
        write(tmp_path / "c.csv", scores(2, 0)),
    ]


def row(summary: dict, a: Path, b: Path, metric: str) -> dict:
    (found,) = [d for d in summary["differences"] if (d["a"], d["b"], d["metric"]) == (str(a), str(b), metric)]
    return found


def test_differences_are_paired(tables: list[Path]) -> None:
    summary = evaluate(results=tables, compare=True, overrides=FAST)
    assert (summary["slides"], summary["patients"], summary["positive"]) == (40, 20, "positive")
    labels = np.arange(SLIDES) // 2 % 2
    a, b, c = tables
    found = row(summary, a, b, "auroc")
    expected = roc_auc_score(labels, scores(0, 3)) - roc_auc_score(labels, scores(1, 1))
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < found["value"] < found["high"]
    assert found["test"] == "DeLong"
    assert summary["metrics"][str(a)]["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores(0, 3)))
    p = [row(summary, *two, "auroc") for two in ((a, b), (a, c), (b, c))]
    assert all(each["p_holm"] >= each["p"] for each in p)
    assert max(each["p_holm"] for each in p) <= 1
    least = min(p, key=lambda each: each["p"])
    assert least["p_holm"] == pytest.approx(min(1, 3 * least["p"]))
    text = describe_comparison(summary)
    assert f"#1  {a} (1 member)" in text
    assert "#1 - #2" in text
    assert summary["out"] is None


def test_like_predictions_do_not_differ_and_pairing_narrows_the_interval(tmp_path: Path) -> None:
    """Resamples are shared: the difference of two near copies is far less uncertain than each of them."""
    first = scores(0, 1)
    near = np.clip(first + np.random.default_rng(5).normal(0, 0.01, SLIDES), 0, 1)
    results = [
        write(tmp_path / "a.csv", first),
        write(tmp_path / "near.csv", near),
        write(tmp_path / "copy.csv", first),
    ]
    summary = evaluate(results=results, compare=True, overrides=FAST)
    copied = row(summary, results[0], results[2], "auroc")
    assert (copied["value"], copied["low"], copied["high"], copied["p"]) == (0, 0, 0, 1)
    alone = summary["metrics"][str(results[0])]["auroc"]
    near_by = row(summary, results[0], results[1], "auroc")
    assert near_by["high"] - near_by["low"] < 0.3 * (alone["high"] - alone["low"])


def test_members_of_each_result_are_drawn_apart(tmp_path: Path) -> None:
    """Two ensembles with the same members: each draw takes others, so that the difference has width."""
    folders = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        members = [scores(seed, 1) for seed in range(3)]
        write(folder / "predictions.csv", np.mean(members, axis=0))
        with (folder / "member_predictions.csv").open("w") as file:
            file.write("slide_id,member,seed,fold,prob_negative,prob_positive\n")
            for seed, each in enumerate(members):
                file.writelines(f"s{i},m{seed},{seed},,{1 - p!r},{p!r}\n" for i, p in enumerate(each.tolist()))
        folders.append(folder)
    summary = evaluate(results=folders, compare=True, overrides=FAST)
    found = row(summary, *folders, "auroc")
    assert found["value"] == 0
    assert found["low"] < -0.01 < 0.01 < found["high"]
    assert [each["members"] for each in summary["results"]] == [3, 3]
    assert not any("one fit only" in note for note in summary["notes"])


def test_openings_are_counted_also_where_a_slide_has_no_patches(places: dict[str, Path], tmp_path: Path) -> None:
    """The ledger's slides are those of the split, and a slide without patches has no prediction."""
    run = places["out"].parent
    (run / "run.json").write_text('{"format": 1}')
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 100}\n")
    empty = SlideFeatures("test-005", np.zeros((0, 8), np.float32), np.zeros((0, 2), np.int64))
    write_slide(places["features"], empty, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda row: 0 if row["slide_id"] == "test-005" else row["patches"])
    evaluate(run=run)
    evaluate(run=run)
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("slide_id,prob_positive\n" + "".join(f"{slide},0.5\n" for slide in read_predictions(run).slides))
    summary = evaluate(results=[run, theirs], compare=True, dry_run=True)
    assert [each["opened"] for each in summary["results"]] == [2, None]
    text = describe_comparison(summary, dry_run=True)
    assert f"{run} (1 member, slides opened so far: 2), {theirs} (1 member)" in text


def test_a_run_is_compared_with_a_table_of_somebody_else(places: dict[str, Path], tmp_path: Path) -> None:
    run = places["out"].parent
    (run / "run.json").write_text('{"format": 1}')
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 100}\n")
    add_members(places)
    evaluate(run=run)
    ours = read_predictions(run)
    assert ours.ours
    assert len(ours.members) == 3
    theirs = tmp_path / "theirs.csv"
    lines = [f"{slide},{0.5 + 0.01 * i}" for i, slide in enumerate(ours.slides)]
    theirs.write_text("\n".join(["slide_id,prob_positive", *lines]))
    out = tmp_path / "compared"
    summary = evaluate(results=[theirs, run], compare=True, out=out, overrides=FAST)
    assert summary["classes"] == ["negative", "positive"]
    assert [each["opened"] for each in summary["results"]] == [None, 1]
    assert read_json(out / "summary.json") == summary
    assert len((out / "differences.csv").read_text().splitlines()) == 1 + len(summary["differences"])
    again = evaluate(results=[theirs, run], compare=True, out=out, overrides=FAST)
    assert again["differences"] == summary["differences"]
    with pytest.raises(RunFolderError, match=r"holds what `wsc-ray evaluate` wrote"):
        evaluate(results=[theirs, run], compare=True, out=run / "evaluate")


@pytest.mark.parametrize("name", ["predictions.csv", "member_predictions.csv"])
def test_predictions_that_were_changed_afterwards_are_refused(places: dict[str, Path], name: str) -> None:
    evaluate(**places)
    read_predictions(places["out"])
    content = (places["out"] / name).read_bytes()
    (places["out"] / name).write_bytes(content.replace(b"-00", b"-01", 1))
    with pytest.raises(DataError, match=f"{name} is damaged, or was changed after it was written; evaluate again"):
        read_predictions(places["out"])


def test_three_classes_have_no_delong(tmp_path: Path) -> None:
    rng, tables = np.random.default_rng(0), []
    for name in "ab":
        raw = rng.random((30, 3)) + np.eye(3)[np.arange(30) % 3]
        raw /= raw.sum(axis=1, keepdims=True)
        lines = [f"s{i},{'xyz'[i % 3]},{','.join(map(repr, row.tolist()))}" for i, row in enumerate(raw)]
        tables.append(tmp_path / f"{name}.csv")
        tables[-1].write_text("\n".join(["slide_id,label,prob_x,prob_y,prob_z", *lines]))
    summary = evaluate(results=tables, compare=True, overrides=[*FAST, "evaluate.order=[z, y, x]"])
    assert {each["test"] for each in summary["differences"]} == {"bootstrap"}
    assert "quadratic_kappa" in summary["metrics"][str(tables[0])]
    assert any("a patient of its own" in note for note in summary["notes"])


def test_the_p_value_of_draws_agrees_with_the_interval() -> None:
    draws = np.linspace(-0.05, 0.95, 1001)[1:]
    assert bootstrap_p(draws) == pytest.approx(0.1, abs=0.003)
    assert bootstrap_p(np.ones(999)) == pytest.approx(0.002)
    assert bootstrap_p(np.zeros(10)) == 1
    assert np.isnan(bootstrap_p(np.full(3, np.nan)))


def test_both_orders_of_results_say_the_same(tables: list[Path]) -> None:
    results = [read_predictions(path) for path in tables[:2]]
    options = {"samples": 200, "confidence": 0.9, "seed": 0}
    (_, forth), (_, back) = compare(pair(results), **options), compare(pair(results[::-1]), **options)
    for one, other in zip(forth, back, strict=True):
        assert (one.value, one.low, one.p) == pytest.approx((-other.value, -other.high, other.p))


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda a, b: replaced(b, "s3,", "other,"),
            DataError,
            r"b.csv lacks 1 slides of .*a.csv \(s3\) and has 1 that",
        ),
        (lambda a, b: replaced(b, "s3,", "s4,"), DataError, r"b.csv has several rows of slide s4"),
        (lambda a, b: replaced(a, "s3,p1,positive", "s3,p1,"), DataError, r"no table has the label of slide s3"),
        (lambda a, b: replaced(a, "s3,p1,positive", "s3,p1,mitosis"), DataError, r"label mitosis has no column"),
        (
            lambda a, b: replaced(b, "prob_positive", "prob_tumour"),
            DataError,
            r"b.csv has probabilities of negative, tum",
        ),
        (lambda a, b: replaced(b, "prob_", "p_"), DataError, r"b.csv has no column `prob_<label>`"),
        (lambda a, b: replaced(b, "slide_id", "slide"), DataError, r"b.csv has no column `slide_id`"),
        (
            lambda a, b: b.write_text("slide_id,prob_negative,prob_positive\ns0,0.5,0.6\n"),
            DataError,
            r"line 2: .* add up to 1.1",
        ),
        (
            lambda a, b: b.write_text("slide_id,prob_negative,prob_positive\ns0,-1,2\n"),
            DataError,
            r"line 2: `prob_negative` is -1",
        ),
        (
            lambda a, b: b.write_text("slide_id,prob_negative,prob_positive\ns0,,1\n"),
            DataError,
            r"line 2: `prob_negative` is nan",
        ),
        (
            lambda a, b: b.write_text("slide_id,prob_negative,prob_positive\ns0,x,1\n"),
            DataError,
            r"holds values that are no numbers",
        ),
        (lambda a, b: b.write_text("slide_id,prob_negative,prob_positive\n"), UserError, r"b.csv has no rows"),
        (lambda a, b: b.unlink(), RunFolderError, r"b.csv does not exist"),
    ],
)
def test_what_a_user_can_do_wrong(tables: list[Path], tmp_path: Path, spoil, error: type, message: str) -> None:
    spoil(*tables[:2])
    with pytest.raises(error, match=message):
        evaluate(results=tables[:2], compare=True, out=tmp_path / "out", overrides=FAST)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [(("True", "False"), ("true", "false")), (("1.0", "0.0"), ("1", "0")), (("1", "0"), ("1", "0"))],
)
def test_names_of_classes_follow_the_rules_for_labels(tmp_path: Path, written, read) -> None:
    first, second = written
    path = tmp_path / "a.csv"
    path.write_text(f"slide_id,label,prob_{first},prob_{second}\ns0,{first},0.75,0.25\ns1,{second},0.5,0.5\n")
    predictions = read_predictions(path)
    assert predictions.classes == read
    assert predictions.labels == {"s0": read[0], "s1": read[1]}
    np.testing.assert_array_equal(predictions.members.probabilities[0, 0], [0.75, 0.25])


@pytest.mark.parametrize("columns", ["prob_,prob_b", "prob_1,prob_1.0", "prob_NaN,prob_b"])
def test_columns_of_no_class_or_of_one_class_twice(tmp_path: Path, columns: str) -> None:
    (tmp_path / "a.csv").write_text(f"slide_id,{columns}\ns0,0.5,0.5\n")
    with pytest.raises(DataError, match="give one for each label, with the label in its name"):
        read_predictions(tmp_path / "a.csv")


def test_a_seed_that_is_no_number_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("slide_id,prob_a,prob_b\ns0,0.5,0.5\n")
    for seed in ("x", "1.5", "9" * 5000):
        text = f"slide_id,member,seed,fold,prob_a,prob_b\ns0,m,{seed},,0.5,0.5\n"
        (tmp_path / "member_predictions.csv").write_text(text)
        with pytest.raises(DataError, match="column `seed` holds values that are no whole numbers; evaluate again"):
            read_predictions(tmp_path)


def test_tables_that_disagree_are_named(tables: list[Path]) -> None:
    a, _, c = tables
    replaced(c, "s3,p1,positive", "s3,p1,negative")
    with pytest.raises(DataError, match=r"slide s3 has label positive in .*a.csv and negative in .*c.csv"):
        evaluate(results=[a, c], compare=True)
    replaced(c, "s3,p1,negative", "s3,p7,positive")
    with pytest.raises(DataError, match=r"slide s3 has patient_id p1 in .*a.csv and p7 in .*c.csv"):
        evaluate(results=[a, c], compare=True)


def test_slides_of_one_patient_have_no_intervals(tmp_path: Path) -> None:
    """Every draw would be the same, so that any difference had a p of one in a thousand."""
    tables = []
    for name in ("a", "b"):
        tables.append(write(tmp_path / f"{name}.csv", scores(len(tables), 1), patient_id="only"))
    with pytest.raises(DataError, match="all slides are of patient only; intervals over patients need two at least"):
        evaluate(results=tables, compare=True, overrides=FAST)


def test_a_comparison_wants_two_results_and_no_run(tables: list[Path], tmp_path: Path, wsc_ray_command) -> None:
    again = tables[0].parent / ".." / tables[0].parent.name / tables[0].name
    for results in (tables[:1], [tables[0], tables[0]], [tables[0], again], []):
        with pytest.raises(RecipeError, match="give two different results at least"):
            evaluate(results=results, compare=True)
    for arguments in ({"results": tables}, {"results": tables, "compare": True, "run": tmp_path}):
        with pytest.raises(RecipeError, match="give --compare RESULT"):
            evaluate(**arguments)
    (tmp_path / "empty").mkdir()
    status, text = wsc_ray_command("evaluate", "--compare", tables[0], tmp_path / "empty")
    assert (status, "holds no predictions.csv" in text) == (2, True)
    status, text = wsc_ray_command("evaluate", "--compare", *tables, "--set", "evaluate.bootstrap=100")
    assert status == 0
    assert "differences with 95% intervals" in text
    status, text = wsc_ray_command("evaluate", "--compare", *tables, "--dry-run")
    assert status == 0
