"""A report of a prediction: what is known without labels, and nothing else."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.conftest import HOSTILE
from tests.report.runs import write_manifest, write_run
from wsc_ray.commands import predict, report
from wsc_ray.errors import RunFolderError
from wsc_ray.files import SUMMARY, read_summary, write_summary
from wsc_ray.report.answer_page import ROWS, answer_page
from wsc_ray.report.answers import Answer, Answers, read_answers
from wsc_ray.report.collect import Facts, collect
from wsc_ray.report.looks import choose_slides, look
from wsc_ray.report.originals import open_originals
from wsc_ray.report.page import render
from wsc_ray.report.places import Parts, find_results
from wsc_ray.report.run import make_report
from wsc_ray.stage import write_identity

CLASSES = ("negative", "positive")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    return write_run(folder / "run", write_manifest(folder, CLASSES, site="north"))


@pytest.fixture(scope="module")
def predicted(run: Path, tmp_path_factory: pytest.TempPathFactory, mlflow_store: str) -> Path:
    """A prediction of eight slides, of which one cannot be read."""
    features = shutil.copytree(run / "features", tmp_path_factory.mktemp("asked") / "features")
    (features / "s2.h5").write_bytes(b"no features")
    out = features.parent / "predicted"
    predict(features=features, run=run, out=out, overrides=[f"tracking.uri={mlflow_store}"])
    return out


def facts_of(place: Path) -> Facts:
    (facts,) = (collect(each) for each in find_results([place]))
    return facts


def test_scores_attention_and_failures_are_shown_and_no_labels(predicted: Path) -> None:
    facts = facts_of(predicted)
    page, known = make_report([facts], 100)
    with (predicted / "predictions.csv").open() as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    (result,) = page.results
    assert result.tiles[0] == ("Slides predicted", "7", "of 8")
    assert result.answers is not None
    assert result.answers.without is not None
    ((slide, _, why),) = result.answers.without.rows
    assert slide == "s2"
    assert why == rows["s2"]["note"]
    assert "cannot be read" in why
    assert result.answers.table is not None
    scores = {line[0]: line for line in result.answers.table.rows}
    column = list(result.answers.table.head).index("probability of positive")
    assert scores.keys() == rows.keys() - {"s2"}
    for name, line in scores.items():
        assert line[column] == f"{float(rows[name]['prob_positive']):.3f}"
        assert line[3] == rows[name]["predicted"]
    doubt = [max(float(rows[name]["prob_negative"]), float(rows[name]["prob_positive"])) for name in scores]
    assert doubt == sorted(doubt)
    assert [card.slide for card in page.cards] == list(scores)
    for card in page.cards:
        assert card.label is None
        (cut,) = card.cuts
        assert cut.thumbnail
        (seen,) = cut.seen
        assert seen.right is None
        assert seen.map
        assert len(seen.top) == len(seen.bottom) == 3
        assert "entropy" in seen.spread
        assert {view.label for view in (*seen.top, *seen.bottom)} == {None}
    assert [chart.title for chart in page.maps] == ["predicted: by slide", "predicted: by site"]
    assert not page.curves
    assert page.absent["headline"] == page.absent["predictions"] == ""
    html = render(page)
    assert "All 7 predicted slides, the most undecided first." in html
    assert "label <b>" not in html
    assert "1 slide has no prediction." in html
    assert "known to be positive" not in html
    assert any("slides without a prediction: 1" in note for note in result.notes)
    assert known["slides_shown"] == 7


def test_the_lineage_is_that_of_the_head(predicted: Path, run: Path, tmp_path: Path) -> None:
    known = dict(make_report([facts_of(predicted)], 100)[0].results[0].lineage)
    assert known["head fitted to features by"] == "e" * 12
    assert known["head fitted to patches of"] == "8 px"
    assert known["head"] == "abmil"
    assert known["method"] == "weaksupcon"  # of the run that made the head's features
    assert len(known["head digest"]) == 12
    # A head of another run is no record of these predictions.
    again = shutil.copytree(predicted, tmp_path / "run" / "predict")
    other = write_run(tmp_path / "other", write_manifest(tmp_path, CLASSES), seed=3)
    summary = read_summary(again)
    assert summary is not None
    write_summary(again, "predict", {**summary, "head": str(other / "mil")})
    changed = make_report([facts_of(again)], 100)[0].results[0]
    assert "head" not in dict(changed.lineage)
    assert any("has changed since" in each for each in changed.missing)


def test_a_prediction_stands_beside_an_evaluated_run(predicted: Path, run: Path) -> None:
    results = [collect(each) for each in find_results([run, predicted])]
    page, _ = make_report(results, 100)
    cards = {card.slide: card for card in page.cards}
    assert list(cards)[4:] == [slide for slide in cards if slide in ("s0", "s1", "s3")]
    both = cards["s5"]
    assert both.label is not None  # the evaluation knows it
    assert [[seen.run for seen in cut.seen] for cut in both.cuts] == [["run", "predicted"]]
    assert [seen.right is None for seen in both.cuts[0].seen] == [False, True]
    assert cards["s0"].label is None
    assert page.sampled.startswith(
        "All 4 test slides, the worst predicted first. All 3 predicted slides, the most undecided first."
    )
    assert len(page.curves) == 3


def test_what_is_damaged_costs_no_more_than_itself(predicted: Path, run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(predicted, tmp_path / "alone")
    (alone / "attention" / "s0.h5").unlink()
    page, known = make_report([facts_of(alone)], 100)
    assert page.results[0].answers is not None
    assert any("the attention of slide s0 cannot be read" in note for note in known["notes"])
    shutil.copyfile(predicted / "attention" / "s1.h5", alone / "attention" / "s0.h5")
    with pytest.raises(Exception, match="says something else of slide s0"):
        list(look(facts_of(alone), ["s0"]))
    table = alone / "predictions.csv"
    table.write_text(table.read_text().replace("prob_negative", "negative"))
    summary = read_summary(alone) or {}
    write_summary(alone, "predict", {**summary, "features": str(run / "features")})  # which can all be read
    page, known = make_report([facts_of(alone)], 100)
    assert not page.cards
    assert not page.maps
    assert any("no column `prob_negative`" in note for note in known["notes"])
    page, _ = make_report([collect(each) for each in find_results([alone, run / "features"])], 100)
    titles = [chart.title for chart in page.maps]
    assert titles
    assert all(title.startswith("features: ") for title in titles)
    (alone / SUMMARY).unlink()
    with pytest.raises(RunFolderError, match="has not come to its end; type its `wsc-ray predict` again"):
        report(runs=[alone], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nosuch://bucket/mil", "nosuch://bucket/mil.* cannot be opened: Protocol not known"),
        ("s3://bucket/f?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1", "cannot be used: .*connect"),
    ],
    ids=["no driver", "unreachable"],
)
def test_places_that_cannot_be_looked_at_cost_their_parts_alone(
    predicted: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, reason: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")
    again = shutil.copytree(predicted, tmp_path / "again")
    write_summary(again, "predict", {**(read_summary(predicted) or {}), "head": named, "features": named})
    page, _ = make_report([collect(each) for each in find_results([again, run])], 100)
    asked, evaluated = page.results
    assert asked.answers is not None
    assert evaluated.missing == []
    assert sum(bool(re.search(reason, note)) for note in asked.missing) == 2
    assert any("the head that it was predicted with has gone" in note for note in asked.missing)
    assert page.curves
    assert len(page.cards) == 7


def test_a_damaged_record_of_features_costs_the_record_alone(predicted: Path, tmp_path: Path) -> None:
    again = shutil.copytree(predicted, tmp_path / "again")
    summary = read_summary(predicted) or {}
    features = shutil.copytree(summary["features"], tmp_path / "features")
    write_summary(again, "predict", {**summary, "features": str(features)})
    (features / "identity.json").write_text("{")
    page, _ = make_report([facts_of(again)], 100)
    assert len(page.cards) == 7
    (note,) = [note for note in page.results[0].missing if "how its features were made is not known" in note]
    assert "--out" not in note


def test_a_table_that_was_edited_is_refused(predicted: Path, tmp_path: Path) -> None:
    lines = (predicted / "predictions.csv").read_text().splitlines()
    for number, (wrong, why) in enumerate([("2.5", "no probabilities"), ("much", "no numbers")]):
        cells = lines[1].split(",")
        cells[lines[0].split(",").index("prob_positive")] = wrong
        place = tmp_path / str(number)
        place.mkdir()
        (place / "predictions.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
        with pytest.raises(Exception, match=why):
            read_answers(place, CLASSES)
    (place / "predictions.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(Exception, match="a slide twice"):
        read_answers(place, CLASSES)


def test_ten_thousand_slides_are_sampled() -> None:
    high = np.random.default_rng(0).uniform(0, 1, 10_000)
    rows = [Answer(f"s{n:05d}", None, 5, np.array([1 - p, p]), 0.1, 0.2) for n, p in enumerate(high)]
    answers = Answers(CLASSES, [*rows, Answer("bad", None, 0, None, note=HOSTILE)])
    parts = Parts("x", Path("/x"), None, None, None, None, Path("/x"))
    facts = Facts(parts, {}, {}, {}, {}, {}, {}, [], [], None, None, (), {}, answers)
    chosen = choose_slides([facts], {}, 100)
    doubtful = {f"s{n:05d}" for n in np.argsort(np.abs(high - 0.5))[:50]}
    assert set(chosen[:50]) == doubtful
    assert len(set(chosen)) == 100
    page = answer_page("x", answers)
    assert page.table is not None
    assert len(page.table.rows) == ROWS
    assert page.told.startswith("500 of 10,000 predicted slides")
    assert page.chart is not None
    assert len(page.chart.data["scores"]) == 1000
    assert "1,000 of 10,000 slides are drawn" in page.chart.note
    assert page.without is not None
    assert page.without.rows == [["bad", "-", HOSTILE]]


@pytest.mark.parametrize(("count", "ticks"), [(1, {"values": [1]}), (2, {"values": [1, 2]}), (11, {"tickCount": 5})])
def test_the_axis_of_scores_counts_whole_slides(count: int, ticks: dict[str, Any]) -> None:
    rows = [Answer(f"s{n}", None, 5, np.array([0.3, 0.7]), 0.1, 0.2) for n in range(count)]
    chart = answer_page("x", Answers(CLASSES, rows)).chart
    assert chart is not None
    x = chart.spec["layer"][0]["encoding"]["x"]
    assert {name: x["axis"][name] for name in ticks} == ticks
    assert x["scale"]["domain"] == [0.5, count + 0.5]


def unknown_prediction(folder: Path, predicted: Path, cut: Path | None = None) -> Facts:
    """A prediction whose features do not say what they are of; `cut` becomes the patches that it cut itself."""
    place = shutil.copytree(predicted, folder)
    summary = read_summary(predicted) or {}
    shutil.copytree(summary["features"], place / "features")
    for name in ("identity.json", SUMMARY):
        (place / "features" / name).unlink()
    if cut is not None:
        shutil.copytree(cut, place / "manifest")
    return facts_of(place)


def test_a_prediction_never_shows_the_pixels_of_anothers_patches(run: Path, predicted: Path, tmp_path: Path) -> None:
    cuts = []
    for side in (8, 16):
        (tmp_path / str(side)).mkdir()
        cuts.append(write_manifest(tmp_path / str(side), CLASSES, side=side))
    results = [unknown_prediction(tmp_path / f"p{n}", predicted, cut) for n, cut in enumerate([*cuts, None])]
    one, other, without = open_originals(results).values()
    corner = (0, 0)
    assert one is not other
    (first,), (second,) = (list(each.patches("s0", [corner]).values()) for each in (one, other))
    assert first.shape != second.shape or np.any(first != second)
    assert not without.known


@pytest.mark.parametrize("reason", ["do not say which manifest", "has changed since", "gone"])
def test_why_a_prediction_has_no_pixels_is_said_truly(predicted: Path, tmp_path: Path, reason: str) -> None:
    """`predict --features` cuts no patches, so that a manifest in its folder is not what is missing."""
    facts = unknown_prediction(tmp_path / "p", predicted)
    features = facts.parts.features
    assert features is not None
    (tmp_path / "other").mkdir()
    other = write_manifest(tmp_path / "other", CLASSES, side=16)
    if reason != "do not say which manifest":
        named = tmp_path / "gone" if reason == "gone" else other
        write_summary(features, "embed", {"manifest": str(named)})
        write_identity(features, "embed", {"encoder": "e" * 64, "size": 8, "manifest": "a" * 64})
    _, known = make_report([facts_of(tmp_path / "p")], 100)
    (note,) = [note for note in known["notes"] if "cannot be shown" in note]
    assert reason in note
    assert str(tmp_path / "p" / "manifest") not in note
    shutil.copytree(other, tmp_path / "p" / "manifest")  # with such patches of its own, the first reason stays
    _, known = make_report([facts_of(tmp_path / "p")], 100)
    if reason != "do not say which manifest":
        (note,) = [note for note in known["notes"] if "cannot be shown" in note]
        assert reason in note
