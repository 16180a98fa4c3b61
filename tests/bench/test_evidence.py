"""The study of when WeakSupCon helps: how pseudo-slides are drawn, what is trained on them, and how sure its differences are."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.evidence.__main__ import main
from benchmarks.evidence.adapters import ADAPTERS, batches, train_adapter
from benchmarks.evidence.embedding import Features
from benchmarks.evidence.measure import HEADS, knn_auroc, split
from benchmarks.evidence.options import Options
from benchmarks.evidence.page import differences
from benchmarks.evidence.pool import GROUPS, HELD, SIZE, TEST, Pool, draw_apart, draw_sharing, spare_patches
from benchmarks.evidence.setting import Setting
from benchmarks.evidence.study import candidate_tasks, choose, final_tasks
from benchmarks.evidence.summary import paired_difference, summarise, summarise_patches
from wsc_ray.encoders.adapter import read_adapter
from wsc_ray.errors import DataError
from wsc_ray.recipe.sections import Loss
from wsc_ray.stream.order import Geometry

POOL = Path(os.environ.get("WSC_RAY_COHORTS", "/nonexistent")) / "pcam-pool" / "patches.parquet"
WEIGHTS = Path(os.environ.get("WSC_RAY_WEIGHTS", "/nonexistent")) / "tf_efficientnet_lite0"
FOUR = GROUPS[:4]
CANDIDATES = ADAPTERS.candidates
SECTIONS = {"data": {"features": "pool"}, "encoder": {"backbone": "mlp", "weights": "random"}}


@pytest.fixture(scope="module")
def pool():
    """Every stain group with 400 normal and 200 tumour patches."""
    groups = [*GROUPS, *TEST]
    return Pool(np.repeat(groups, 600), np.tile(np.repeat([False, True], [400, 200]), len(groups)))


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.4])
def test_training_slides_share_no_patch_and_hold_the_tumour_that_is_said(pool, fraction):
    slides = draw_apart(pool, FOUR, 10, fraction, seed=1)
    assert slides.rows.shape == (20, SIZE)
    assert len(np.unique(slides.rows)) == slides.rows.size
    tumour = pool.tumour[slides.rows].sum(1)
    assert tumour[~slides.positive].tolist() == [0] * 10
    assert tumour[slides.positive].tolist() == [round(fraction * SIZE)] * 10
    assert all(len(set(groups)) == 1 and groups[0] in FOUR for groups in pool.group[slides.rows].tolist())


def test_shares_of_tumour_differ_in_nothing_else(pool):
    few, many = (draw_apart(pool, FOUR, 10, fraction, seed=1) for fraction in (0.1, 0.4))
    np.testing.assert_array_equal(few.rows[~few.positive], many.rows[~many.positive])
    for one, other in zip(few.rows[few.positive], many.rows[many.positive], strict=True):
        assert np.isin(other[~pool.tumour[other]], one).all()


def test_a_group_with_little_tumour_has_fewer_slides_at_every_share(pool):
    """train-0 has 41 tumour patches: two slides of 20, or eight of 5."""
    poor = Pool(pool.group, pool.tumour & ((pool.group != "train-0") | (np.cumsum(pool.tumour) <= 41)))
    few, many = (draw_apart(poor, FOUR, 13, fraction, seed=1, most=0.4) for fraction in (0.1, 0.4))
    for slides in (few, many):
        assert np.bincount(np.unique(pool.group[slides.rows[:, 0]], return_inverse=True)[1]).tolist() == [4, 8, 8, 6]
        assert len(np.unique(slides.rows)) == slides.rows.size
    assert np.isin(few.rows[poor.tumour[few.rows]], many.rows).all()
    assert (poor.group[draw_apart(poor, FOUR, 13, 0.1, seed=1).rows[:, 0]] == "train-0").sum() > 4
    with pytest.raises(DataError, match=r"have patches for 14 slides of each label with up to 40% tumour, not for 15"):
        draw_apart(poor, FOUR, 15, 0.1, seed=1, most=0.4)


def test_slides_that_stop_heads_are_of_patches_that_train_nothing(pool):
    trained = [draw_apart(pool, FOUR, 13, fraction, seed=1, most=0.4) for fraction in (0.0, 0.4)]
    spare = spare_patches(pool, FOUR, trained, 0.4)
    stop = draw_sharing(spare, FOUR, 12, 0.1, seed=2)
    assert pool.tumour[stop.rows].sum(1).tolist() == [0, 5] * 12
    assert not np.isin(stop.rows, draw_apart(pool, FOUR, 13, 0.1, seed=1, most=0.4).rows).any()
    # Of 400 normal patches of a group four pairs leave none, three leave a hundred.
    assert set(spare.group[stop.rows[:, 0]]) == {"train-1", "train-2", "train-3"}


def test_a_bootstrap_draws_patches_anew_and_keeps_the_slides_make(pool):
    plain = draw_sharing(pool, TEST, 30, 0.1, seed=4)
    again = draw_sharing(pool, TEST, 30, 0.1, seed=4, resample=True)
    for slides in (plain, again):
        tumour = pool.tumour[slides.rows].sum(1)
        assert tumour.tolist() == [0, 5] * 30
        assert all(len(set(groups)) == 1 and groups[0] in TEST for groups in pool.group[slides.rows].tolist())
    # Of 400 normal patches of a group a bootstrap knows about 1 - 1/e; 6 slides of 95 patches see most of what there is.
    normal = [np.unique(slides.rows[~pool.tumour[slides.rows]]).size for slides in (plain, again)]
    assert normal[1] < 0.9 * normal[0]


def test_what_is_trained_on_are_pairs_of_stored_views_of_the_right_slides(pool):
    slides = draw_apart(pool, FOUR, 5, 0.1, seed=1)
    place = np.full(len(pool), -1)
    used = np.unique(slides.rows)
    place[used] = np.arange(len(used))
    stored = (used[:, None, None] + np.array([0.0, 0.25, 0.5])[:, None]).astype(np.float64)  # a view says whose it is
    features = Features(np.zeros((len(pool), 1), np.float32), stored, place)
    geometry = Geometry(seed=0, sampling="epoch", batch_size=20, shards=1, steps=50, window=25)
    seen = []
    for step, batch in enumerate(batches(slides, features, geometry)):
        assert batch["views"].shape == (20, 2, 1)
        rows = np.floor(batch["views"][..., 0]).astype(int)
        assert (rows[:, 0] == rows[:, 1]).all()
        assert (batch["views"][:, 0] != batch["views"][:, 1]).all()
        assert np.isin(rows[batch["label"] == 0], slides.rows[~slides.positive]).all()
        assert np.isin(rows[batch["label"] == 1], slides.rows[slides.positive]).all()
        assert set(batch["step"].tolist()) == {step}
        seen.append(rows[:, 0])
    counts = np.bincount(np.concatenate(seen[:25]), minlength=len(pool))[used]
    assert counts.min() == counts.max() == 1  # 25 steps of 20 are every patch once


def a_head(scores, resampled):
    return {"auroc": scores, "balanced_accuracy": [0.5], "attention": [0.5], "resampled": resampled}


def drawn(
    rng, shift, trainings=8, heads=3, resamples=150, of_training=0.02, of_head=0.01, of_patches=0.03, common=None
):
    """Trainings whose true mean is `shift`: patches move all arms alike, trainings and heads each on their own."""
    common = rng.normal(0, of_patches) if common is None else common
    found = []
    for _ in range(trainings):
        training = rng.normal(0, of_training)
        means = [0.8 + shift + training + rng.normal(0, of_head) for _ in range(heads)]
        found.append(a_head([mean + common for mean in means], [[mean + common] * resamples for mean in means]))
    return found


def test_a_difference_is_covered_as_often_as_is_said():
    """Trainings and heads alone: 95% intervals over eight trainings cover the truth nearly as often; a bootstrap of few is short."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        common = rng.normal(0, 0.03)
        ours, theirs = (drawn(rng, shift, common=common, resamples=1) for shift in (0.02, 0.0))
        _, low, high = paired_difference(ours, theirs, draws=200)
        covered.append(low <= 0.02 <= high)
    assert 0.86 < np.mean(covered) < 0.99


def test_what_moves_both_arms_alike_does_not_widen_a_difference():
    rng = np.random.default_rng(1)
    shake = rng.normal(0, 0.1, 200)
    one, other = ([a_head([0.8 + d], [(0.8 + d + shake).tolist()])] for d in (0.05, 0.0))
    value, low, high = paired_difference(one, other)
    assert value == pytest.approx(0.05)
    assert (low, high) == pytest.approx((0.05, 0.05))


def test_rows_say_what_results_do():
    results = [
        {
            "arm": arm,
            "fraction": 0.1,
            "patches": {"linear": 0.6, "kNN": 0.1 * training, "distance": 0.7},
            "heads": {
                head: a_head([0.5 + 0.1 * number, 0.6 + 0.1 * number + more], [[0.5 + 0.1 * number]] * 2)
                for head, more in (("mean", 0), ("abmil", 0), ("dtfd", 0.1))
            },
            "last": {"collapsed": training == 0 and arm == "supcon"},
        }
        for number, arm in enumerate(("frozen", "supcon", "simclr", "weaksupcon"))
        for training in range(2)
    ]
    rows = {(row.arm, row.head): row for row in summarise(results)}
    assert rows["weaksupcon", "abmil"].auroc == pytest.approx(0.85)
    assert rows["weaksupcon", "dtfd"].auroc == pytest.approx(0.9)
    assert rows["weaksupcon", "abmil"].difference is None
    assert rows["frozen", "abmil"].difference[0] == pytest.approx(0.3)
    assert "+0.300 (+0.300 to +0.300)" in differences([row for row in rows.values() if row.head == "abmil"])
    patches = {row.arm: row for row in summarise_patches(results)}
    assert patches["supcon"].collapsed == 1
    assert patches["simclr"].collapsed == 0
    assert patches["simclr"].aurocs == pytest.approx({"linear": 0.6, "kNN": 0.05, "distance": 0.7})


@pytest.mark.parametrize("name", list(HEADS))
def test_a_head_in_two_parts_says_what_it_says_whole(pool, name):
    torch.manual_seed(0)
    features = torch.randn(len(pool), 6)
    head = HEADS[name].build(6, 2).eval()
    head.standardise(features[:100])
    slides = draw_sharing(pool, TEST, 5, 0.1, seed=0)
    logits, attention = split(head, features)(slides)
    with torch.inference_mode():
        whole, weights = head(features[slides.rows.ravel()], torch.arange(11) * SIZE)
    np.testing.assert_allclose(logits, (whole[:, 1] - whole[:, 0]).numpy(), atol=1e-5)
    np.testing.assert_allclose(attention, weights.view(10, SIZE).numpy(), atol=1e-6)


def test_neighbours_find_tumour_where_features_show_it(pool):
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(len(pool), 4)) + 3 * pool.tumour[:, None])
    rows = np.flatnonzero(np.isin(pool.group, TEST))
    slides = draw_apart(pool, FOUR, 10, 0.4, seed=1)
    assert knn_auroc(features, slides, pool, rows) > 0.95
    assert abs(knn_auroc(torch.from_numpy(rng.normal(size=(len(pool), 4))), slides, pool, rows) - 0.5) < 0.1


def test_an_exported_encoder_is_read_as_an_adapter(pool, tmp_path):
    rng = np.random.default_rng(0)
    features = Features(
        rng.normal(size=(len(pool), 6)).astype(np.float32),
        rng.normal(size=(len(pool), 2, 6)).astype(np.float16),
        np.arange(len(pool)),
        "abc",
    )
    slides = draw_apart(pool, FOUR, 4, 0.1, seed=1)
    trained = train_adapter(Setting("simclr", steps=2, width=3), slides, features, seed=0, batch_size=8)
    trained.export(tmp_path / "0.1-simclr-0", features.encoder)
    adapter = read_adapter(tmp_path / "0.1-simclr-0")
    assert (adapter.encoder, adapter.shape.outputs) == ("abc", 3)
    np.testing.assert_array_equal(adapter(features.plain), trained(features.plain).numpy())


def test_candidates_are_as_many_for_each_arm_and_the_best_mean_is_chosen():
    tasks = candidate_tasks(CANDIDATES, Options(choosing=2, folds=3))
    assert len({task.name for task in tasks}) == len(tasks)
    counts = {arm: sum(task.arm == arm for task in tasks) for arm in CANDIDATES}
    assert set(counts.values()) == {len(CANDIDATES["simclr"]) * len(HELD) * 2}
    best = {arm: settings[1] for arm, settings in CANDIDATES.items()}
    results = [
        # the last candidate is the best for one pair of groups alone
        {"auroc": [0.6, 0.7 if same(task.setting, best[task.arm]) else 0.62 + 0.1 * (task.held == 2)]}
        for task in tasks
    ]
    chosen = choose(tasks, results)
    assert all(same(Setting(**found["setting"]), best[arm]) for arm, found in chosen.items())
    assert {task.held for task in candidate_tasks(CANDIDATES, Options(folds=2))} == {0, 1}
    tested = final_tasks(Options(fractions=(0.1, 0.2), seeds=2), chosen)
    assert len({task.name for task in tested}) == len(tested) == 2 * (1 + 2 * 3)
    assert [task.fraction for task in tested] == [0.1] * 7 + [0.2] * 7


def same(one, other):
    """Whether two settings differ in nothing but the number of steps, which is an option."""
    return replace(one, steps=1) == replace(other, steps=1)


def test_settings_are_recipes():
    recipe = Setting("weaksupcon", weight=1.0, rise=0.5, steps=10).recipe(3, 64, SECTIONS)
    assert (recipe.seed, recipe.train.batch_size, recipe.loss.similarity_warmup) == (3, 64, 5)
    assert Setting("weaksupcon", weight=1.0, rise=None).recipe(3, 64, SECTIONS).loss == Loss()
    assert Setting("simclr").recipe(0, 64, SECTIONS).loss.method == "simclr"


def test_a_pool_that_is_none_is_a_sentence(tmp_path):
    (tmp_path / "pool.parquet").write_bytes(b"no Parquet")
    told = CliRunner().invoke(
        main,
        [
            "--pool",
            str(tmp_path / "pool.parquet"),
            "--weights",
            str(tmp_path),
            "--out",
            str(tmp_path / "out"),
            "--quick",
        ],
    )
    assert told.exit_code == 2
    assert "cannot be read as a pool of patches" in told.output


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(not POOL.is_file() or not WEIGHTS.is_dir(), reason="WSC_RAY_COHORTS or WSC_RAY_WEIGHTS lacks them")
def test_the_study_runs_and_goes_on(ray_cluster, tmp_path):
    page = tmp_path / "page.md"
    arguments = ["--pool", str(POOL), "--weights", str(WEIGHTS), "--out", str(tmp_path / "out"), "--processes", "1"]
    arguments += ["--quick", "--markdown", str(page)]
    told = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert page.with_suffix(".png").is_file()
    first = page.read_text()
    (lost,) = (tmp_path / "out" / "runs").glob("test-0.1-simclr-*.json")
    lost.unlink()
    told = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert told.exit_code == 0
    assert f"1/1 {lost.name}" in told.output
    assert table_of(page.read_text()) == table_of(first)
    assert lost.is_file()
    assert read_adapter(tmp_path / "out" / "encoders" / "0.1-simclr-0").shape.inputs == 1280
    told = CliRunner().invoke(main, [word for word in arguments if word != "--quick"])
    assert told.exit_code == 2
    assert "holds a study of other options" in told.output


def table_of(text):
    return [line for line in text.splitlines() if line.startswith("| 10%")]
