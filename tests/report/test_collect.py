"""What a report finds in folders, whatever of a run is there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.report.runs import write_manifest, write_run
from wsc_ray.commands import report
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.predictions import Predictions
from wsc_ray.files import read_json, write_json, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.neighbours.contact_sheet import find_images
from wsc_ray.report.collect import Facts, collect
from wsc_ray.report.looks import choose_slides, look
from wsc_ray.report.originals import Originals
from wsc_ray.report.page import render
from wsc_ray.report.pictures import patch_picture
from wsc_ray.report.places import Parts, find_results
from wsc_ray.report.run import make_report
from wsc_ray.stage import write_identity


def test_everything_of_a_run_is_found(two_runs: list[Path]) -> None:
    one, other = (collect(each) for each in find_results(two_runs))
    assert [one.name, other.name] == ["one", "<b>two"]
    assert len(one.metrics) == 30
    assert len(one.openings) == 2
    assert one.predictions is not None
    assert one.predictions.slides == ("s4", "s5", "s6", "s7")
    assert one.recipe == "seed: 0"
    assert one.missing == ()


def test_predictions_whose_label_no_head_knows_are_left_out(tmp_path: Path, two_runs: list[Path]) -> None:
    run = shutil.copytree(two_runs[0], tmp_path / "run")
    table = run / "evaluate" / "predictions.csv"
    header, first, *others = table.read_text().splitlines()
    first = first.replace("alert(1)", "alert(9)").replace("alert(2)", "alert(9)")
    table.write_text("\n".join([header, first, *others]) + "\n")
    facts = collect(find_results([run])[0])
    assert facts.predictions is None
    assert any("its predictions cannot be used" in sentence for sentence in facts.missing)


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path, two_runs: list[Path]) -> None:
    for name in "ab":
        shutil.copytree(two_runs[0], tmp_path / name / "run")
    assert [each.name for each in find_results([tmp_path / "a" / "run", tmp_path / "b" / "run"])] == ["a/run", "b/run"]


def test_an_evaluation_and_features_alone_are_results_too(two_runs: list[Path]) -> None:
    evaluation, features = (
        collect(each) for each in find_results([two_runs[0] / "evaluate", two_runs[0] / "features"])
    )
    assert evaluation.predictions is not None
    assert evaluation.parts.head == two_runs[0] / "mil"
    assert features.parts.features == two_runs[0] / "features"
    page, known = make_report([features], 100)
    assert page.maps
    assert not page.cards
    assert page.absent["predictions"].startswith("None of these results is evaluated")
    assert any("not evaluated" in note for note in known["notes"])


def test_a_run_without_metrics_or_evaluation_says_so(tmp_path: Path, two_runs: list[Path]) -> None:
    manifest = write_manifest(tmp_path, ("negative", "positive"))
    run = write_run(tmp_path / "run", manifest, steps=0, evaluated=False)
    page, known = make_report([collect(each) for each in find_results([run])], 100)
    assert not page.training
    assert not page.curves
    assert page.absent["training"]
    assert len(known["notes"]) == 2


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_folder_that_is_no_run_is_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x").mkdir()
    with pytest.raises(RunFolderError, match="give a run folder"):
        report(runs=[tmp_path / "x"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_another_command_wrote_is_named(two_runs: list[Path], tmp_path: Path) -> None:
    write_identity(tmp_path / "cohort", "tile", {})
    with pytest.raises(RunFolderError, match="what `wsc-ray tile` wrote"):
        report(runs=[two_runs[0], tmp_path / "cohort"], out=tmp_path / "out")


def test_a_result_is_given_once(two_runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="given twice"):
        report(runs=[two_runs[0], two_runs[0]], out=tmp_path / "out")
    with pytest.raises(RecipeError, match="missing"):
        report(runs=[], out=tmp_path / "out")


def test_attention_is_that_of_the_evaluation_or_none(tmp_path: Path, two_runs: list[Path]) -> None:
    (facts,) = (collect(each) for each in find_results(two_runs[:1]))
    looks = list(look(facts, ["s4", "s7"]))
    assert [each.slide for each in looks] == ["s4", "s7"]
    for each in looks:
        assert each.attention is not None
        assert np.isclose(each.attention.sum(), 1, atol=1e-5)
    moved = shutil.copytree(two_runs[0], tmp_path / "moved")
    shutil.copytree(two_runs[1] / "mil", moved / "mil", dirs_exist_ok=True)
    summary = read_json(moved / "evaluate" / "summary.json")
    write_json(moved / "evaluate" / "summary.json", {**summary, "head": str(moved / "mil")})
    (changed,) = (collect(each) for each in find_results([moved]))
    with pytest.raises(DataError, match="have changed since the evaluation"):
        list(look(changed, ["s4"]))
    page, known = make_report([changed], 100)
    assert not page.cards
    assert any("have changed" in note for note in known["notes"])


def test_a_manifest_that_has_gone_costs_the_pictures_alone(tmp_path: Path, two_runs: list[Path]) -> None:
    moved = shutil.copytree(two_runs[0], tmp_path / "moved")
    write_summary(moved / "features", "embed", {"manifest": str(tmp_path / "gone")})
    summary = read_json(moved / "evaluate" / "summary.json")
    write_json(moved / "evaluate" / "summary.json", {**summary, "features": str(moved / "features")})
    page, known = make_report([collect(each) for each in find_results([moved])], 100)
    assert len(page.cards) == 4
    cuts = [cut for card in page.cards for cut in card.cuts]
    assert {cut.thumbnail for cut in cuts} == {None}
    assert all(seen.map for cut in cuts for seen in cut.seen)
    assert "Some patches cannot be shown" in page.sampled
    assert known["notes"]


@pytest.fixture(scope="module")
def two_scales(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Runs of the same slides, cut into patches of 8 and of 16 px, and their manifests. Some corners coincide."""
    folder, labels = tmp_path_factory.mktemp("scales"), ("negative", "positive")
    manifests = [
        write_manifest(folder / "of-8", labels, patches=7, side=8),
        write_manifest(folder / "of-16", labels, patches=4, side=16),
    ]
    runs = [
        write_run(folder / "fine", manifests[0], side=8),
        write_run(folder / "coarse", manifests[1], side=16),
    ]
    return runs, manifests


def test_results_of_two_scales_have_pictures_of_their_own(two_scales: tuple[list[Path], list[Path]]) -> None:
    runs, manifests = two_scales
    page, known = make_report([collect(each) for each in find_results(runs)], 100)
    assert len(page.cards) == 4
    for card in page.cards:
        assert card.patches is None
        assert [cut.patches for cut in card.cuts] == [7, 4]
        assert [cut.size for cut in card.cuts] == [(280, 40), (280, 70)]  # 7 x 1 patches, and 4 x 1
        assert [[seen.run for seen in cut.seen] for cut in card.cuts] == [["fine"], ["coarse"]]
        for cut, manifest, count in zip(card.cuts, manifests, (6, 4), strict=True):
            views = [*cut.seen[0].top, *cut.seen[0].bottom]
            images = find_images(open_manifest(str(manifest)), [(card.slide, each.x, each.y) for each in views])
            assert len(images) == count
            assert [each.picture for each in views] == [
                patch_picture(images[card.slide, each.x, each.y]) for each in views
            ]
    assert "cannot be shown" not in page.sampled
    assert known["notes"] == []
    text = render(page)
    assert text.count(" · 7 patches</figcaption>") == text.count(" · 4 patches</figcaption>") == 4


def test_results_of_the_same_patches_share_a_thumbnail(two_runs: list[Path]) -> None:
    page, _ = make_report([collect(each) for each in find_results(two_runs)], 100)
    assert [len(card.cuts) for card in page.cards] == [1] * 4
    assert [card.patches for card in page.cards] == [7] * 4
    assert all([seen.run for seen in card.cuts[0].seen] == ["one", "<b>two"] for card in page.cards)


def test_pixels_are_of_the_manifest_that_features_were_made_of(
    tmp_path: Path, two_runs: list[Path], two_scales: tuple[list[Path], list[Path]]
) -> None:
    moved = shutil.copytree(two_runs[0], tmp_path / "moved")
    summary = read_json(moved / "evaluate" / "summary.json")
    write_json(moved / "evaluate" / "summary.json", {**summary, "features": str(moved / "features")})
    write_summary(moved / "features", "embed", {"manifest": str(two_scales[1][1])})
    (changed,) = (collect(each) for each in find_results([moved]))
    page, known = make_report([changed], 100)
    assert not any(cut.thumbnail or cut.seen[0].top for card in page.cards for cut in card.cuts)
    assert any("has changed since the features were made of it" in note for note in known["notes"])
    together, known = make_report([changed, collect(find_results(two_runs[1:])[0])], 100)  # whose patches are the same
    assert all(cut.thumbnail and seen.top for card in together.cards for cut in card.cuts for seen in cut.seen)
    assert known["notes"] == []


def test_patches_that_a_manifest_lacks_are_counted(two_scales: tuple[list[Path], list[Path]]) -> None:
    originals = Originals(open_manifest(str(two_scales[1][1])))
    assert set(originals.patches("s4", [(0, 4), (8, 4), (24, 4)])) == {(0, 4)}
    assert originals.problem is not None
    assert originals.problem.startswith("2 of 3 patches of slide s4 are not in ")


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_damaged_table_of_slides_costs_its_pictures_alone(
    tmp_path: Path, two_runs: list[Path], evaluated: bool
) -> None:
    moved = shutil.copytree(two_runs[1], tmp_path / "moved")
    if evaluated:
        summary = read_json(moved / "evaluate" / "summary.json")
        write_json(moved / "evaluate" / "summary.json", {**summary, "features": str(moved / "features")})
    runs = [moved, two_runs[0]] if evaluated else [moved / "features", two_runs[0] / "features"]
    table = moved / "features" / "slides.parquet"
    table.write_bytes(table.read_bytes()[:100])
    results = [collect(each) for each in find_results(runs)]
    damaged, whole = (each.name for each in results)
    page, known = make_report(results, 100)
    assert len(page.cards) == (4 if evaluated else 0)
    assert {seen.run for card in page.cards for cut in card.cuts for seen in cut.seen} == (
        {whole} if evaluated else set()
    )
    assert page.maps
    assert all(chart.title.startswith(whole) for chart in page.maps)
    (sentence,) = [each for each in page.results[0].missing if "its slides cannot be shown" in each]
    assert "slides.parquet" in sentence
    assert f"{damaged}: {sentence}" in known["notes"]
    alone, _ = make_report(results[:1], 100)
    assert not alone.maps
    assert sentence in alone.results[0].missing


def facts_of(slides: int, error: np.ndarray) -> Facts:
    """A result with predictions alone."""
    names = tuple(f"slide-{number:05d}" for number in range(slides))
    probabilities = np.stack([1 - error, error], axis=1)[None]
    members = MemberPredictions(("seed-0",), (0,), (None,), probabilities)
    labels = dict.fromkeys(names, "negative")
    predictions = Predictions("x", names, labels, {}, ("negative", "positive"), members, True)
    parts = Parts("x", Path("/x"), None, None, None, None)
    return Facts(parts, {}, {}, {}, {}, {}, {}, [], [], predictions, None, ())


def test_ten_thousand_slides_are_sampled() -> None:
    error = np.random.default_rng(0).random(10_000)
    facts = facts_of(10_000, error)
    chosen = choose_slides([facts], {}, 100)
    worst = {f"slide-{number:05d}" for number in np.argsort(-error)[:50]}
    assert len(chosen) == len(set(chosen)) == 100
    assert set(chosen[:50]) == worst
    rest = sorted(int(name[-5:]) for name in chosen[50:])
    assert max(np.diff(rest)) < 400  # spread over all
    assert choose_slides([facts], {}, 100) == chosen
    assert len(choose_slides([facts_of(5, error[:5])], {}, 100)) == 5


def test_the_command_writes_the_page_and_logs_it(
    two_runs: list[Path], tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    done = report(runs=two_runs, out=tmp_path / "out", slides=2)
    page = (tmp_path / "out" / "report.html").read_text()
    assert done["bytes"] == len(page.encode())
    assert done["slides_shown"] == 2
    assert "2 of 4 test slides are shown" in page
    artifacts = MlflowClient(mlflow_store).list_artifacts(done["mlflow"]["run_id"])
    assert [each.path for each in artifacts] == ["report.html"]
    again = report(runs=two_runs, out=tmp_path / "out", slides=4)
    assert again["mlflow"]["run_id"] == done["mlflow"]["run_id"]
    assert "All 4 test slides" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is taken"):
        report(runs=two_runs, out=tmp_path / "mine")
