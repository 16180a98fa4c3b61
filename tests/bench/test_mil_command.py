"""`python -m benchmarks.mil` at tiny sizes, and what a user can do wrong."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from benchmarks.mil import contenders
from benchmarks.mil.__main__ import main
from benchmarks.mil.run import LEAST, SIZES, _flat, _verdict
from benchmarks.mil.search import growth
from tests.conftest import invoke

pytest.importorskip("torchmil.models")
run_main = partial(invoke, program=main)


pytestmark = pytest.mark.usefixtures("own_threads")


def test_it_runs_and_says_that_its_figures_mean_nothing(tmp_path):
    result = run_main(
        "--out", tmp_path / "out", "--rounds", "2", "--trials", "0", "--quick", "--markdown", tmp_path / "mil.md"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["instances"] for one in summary["measurements"]] == list(SIZES)
    assert set(summary["measurements"][0]["seconds"]) == {contenders.PACKED, contenders.SINGLE, contenders.PADDED}
    assert "the figures mean nothing" in result.output
    page = (tmp_path / "mil.md").read_text()
    assert f"`{summary['invocation']}`" in page
    assert contenders.SINGLE in page


def test_all_contenders_have_as_many_weights_and_learn():
    bags = contenders.make_bags(12, 3, 9)
    ours = sum(weight.numel() for weight in contenders.our_head().parameters())
    theirs = sum(weight.numel() for weight in contenders.their_head().parameters())
    # Two logits and one, and torchmil's score has no bias.
    assert ours - theirs == contenders.HIDDEN + 1 + 1
    for epoch in contenders.contenders(bags).values():
        epoch()


def test_a_padded_batch_is_its_bags():
    """Padding takes no part: the logits of a padded batch are those of its bags."""
    bags, head = contenders.make_bags(3, 2, 9), contenders.their_head().eval()
    bounds = bags.offsets.tolist()
    slides = [bags.features[bounds[i] : bounds[i + 1]] for i in range(3)]
    padded = torch.nn.utils.rnn.pad_sequence(slides, batch_first=True)
    mask = (torch.arange(padded.shape[1]) < bags.lengths[:, None]).float()
    torch.testing.assert_close(head(padded, mask), torch.cat([head(each[None]) for each in slides]))


def test_memory_that_grows_is_seen():
    assert growth([*range(100), *[200] * 100])["growth"] == pytest.approx(200 / 74.5 - 1)
    assert growth([5.0])["growth"] == 0
    found = {"trials": 4, "driver": growth([9.0, 10, 10, 10.5]), "workers": growth([10.0, 10, 10, 12])}
    assert [one.verdict for one in _flat(found)] == ["reached", "not reached"]


def test_a_target_is_judged_by_the_median():
    for name, least in LEAST.items():
        for found, verdict in ((least, "reached"), (least * 0.99, "not reached")):
            one = {"instances": name, "ratios": {contenders.SINGLE: {"median": found}}}
            assert _verdict(one).verdict == verdict


def test_what_a_user_can_do_wrong(tmp_path):
    assert run_main("--out", tmp_path, "--rounds", "0").exit_code == 2
    (tmp_path / "other").touch()
    result = run_main("--out", tmp_path, "--quick")
    assert result.exit_code == 2
    assert "holds something else" in result.output
