import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import read_json
from wsc_ray.mil.head import load_head, save_head
from wsc_ray.mil.heads.abmil import AttentionMIL, AttentionSettings
from wsc_ray.mil.heads.mean import MeanPool
from wsc_ray.mil.segments import segment_softmax

from .cohort import FEW, make_bags

LENGTHS = [3, 1, 7, 2]


def make_head(*, gated: bool, classes: int = 2, dropout: float = 0.0) -> AttentionMIL:
    torch.manual_seed(1)
    return AttentionMIL(5, classes, hidden=6, attention=4, gated=gated, dropout=dropout).eval()


def settings(*, gated: bool, dropout: float = 0.0) -> AttentionSettings:
    return AttentionSettings(lr=1e-3, weight_decay=0.0, dropout=dropout, hidden=6, attention=4, gated=gated)


def padded(head: AttentionMIL, bags) -> tuple[torch.Tensor, torch.Tensor]:
    """The textbook way: bags padded to the longest, masked attention."""
    longest = int(bags.lengths.max())
    x = torch.zeros(len(bags), longest, 5)
    mask = torch.arange(longest) < bags.lengths[:, None]
    x[mask] = bags.features
    h = torch.relu(head.embed((x - head.mean) / head.std))
    a = torch.tanh(head.tanh(h))
    if head.gate is not None:
        a = a * torch.sigmoid(head.gate(h))
    weights = torch.softmax(head.score(a).squeeze(-1).masked_fill(~mask, -torch.inf), dim=1)
    return head.classify(torch.einsum("bn,bnl->bl", weights, h)), weights[mask]


@FEW
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.floats(0.1, 1000))
def test_segment_softmax_is_softmax_of_each_bag(lengths: list[int], scale: float) -> None:
    bags = make_bags(lengths)
    scores = bags.features[:, 0] * scale
    segment = torch.repeat_interleave(torch.arange(len(lengths)), bags.lengths)
    found = segment_softmax(scores, segment, len(lengths))
    expected = torch.cat([part.softmax(0) for part in scores.split(lengths)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gated", [True, False])
def test_packed_equals_padded(gated: bool) -> None:
    head, bags = make_head(gated=gated, classes=3), make_bags(LENGTHS)
    logits, attention = head(bags.features, bags.offsets)
    expected_logits, expected_attention = padded(head, bags)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(attention, expected_attention)


def test_a_bag_does_not_depend_on_its_neighbours_or_on_patch_order() -> None:
    head, bags = make_head(gated=True), make_bags(LENGTHS)
    together, _ = head(bags.features, bags.offsets)
    for i in range(len(LENGTHS)):
        alone = bags.select([i])
        shuffled = alone.features[torch.randperm(len(alone.features))]
        torch.testing.assert_close(head(shuffled, alone.offsets)[0][0], together[i])


@pytest.mark.parametrize("gated", [True, False])
def test_gradient(gated: bool) -> None:
    head, bags = make_head(gated=gated).double(), make_bags(LENGTHS)
    features = bags.features.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head(x, bags.offsets), features)


def test_an_empty_bag_gives_no_nan() -> None:
    head, bags = make_head(gated=True), make_bags([2, 0, 3])
    logits, attention = head(bags.features, bags.offsets)
    assert logits.isfinite().all()
    torch.testing.assert_close(attention.sum(), torch.tensor(2.0))
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_standardised_features_and_a_dead_dimension() -> None:
    features = torch.randn(500, 5) * torch.tensor([1e-4, 1.0, 1e4, 1.0, 0.0]) + torch.tensor([1.0, -5.0, 3.0, 1e6, 7.3])
    head = make_head(gated=True)
    head.standardise(features)
    scaled = (features - head.mean) / head.std
    torch.testing.assert_close(scaled[:, :3].std(0, correction=0), torch.ones(3), rtol=1e-3, atol=0)
    assert scaled[:, 4].abs().max() == 0


def test_a_saved_head_is_the_same_head(tmp_path: Path) -> None:
    head, bags = make_head(gated=True, dropout=0.3), make_bags(LENGTHS)
    head.standardise(bags.features)
    save_head(tmp_path / "head", head, settings(gated=True, dropout=0.3), ["negative", "positive"], {"note": 1})
    back, config = load_head(tmp_path / "head")
    assert torch.equal(back(bags.features, bags.offsets)[0], head(bags.features, bags.offsets)[0])
    assert not back.training
    assert (config["classes"], config["features"], config["note"]) == (["negative", "positive"], 5, 1)


def test_heads_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds no head.*wsc-ray tune"):
        load_head(tmp_path)
    save_head(tmp_path, make_head(gated=True), settings(gated=True), ["a", "b"])
    config = read_json(tmp_path / "config.json")
    for values in (
        {**config, "hidden": 7},
        {**config, "format": 2},
        {"format": 1},
        {**config, "gated": False},
        {**config, "classes": [1.5, 2]},
    ):
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(WeightsError):
            load_head(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"half a fi")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_head(tmp_path)


def test_a_head_written_before_there_were_several_still_loads(tmp_path: Path) -> None:
    head = make_head(gated=False)
    save_head(tmp_path, head, settings(gated=False), ["a", "b"])
    config = read_json(tmp_path / "config.json")
    old = {name: value for name, value in config.items() if name not in ("lr", "weight_decay")}
    (tmp_path / "config.json").write_text(json.dumps({**old, "head": "attention-mil"}))
    bags = make_bags(LENGTHS)
    assert torch.equal(load_head(tmp_path)[0](bags.features, bags.offsets)[0], head(bags.features, bags.offsets)[0])


def test_a_head_of_a_plugin_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    save_head(tmp_path, make_head(gated=False), settings(gated=False), ["a", "b"])
    config = read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({**config, "head": "theirs"}))
    with pytest.raises(WeightsError, match="theirs"):
        load_head(tmp_path)


def test_the_mean_head_is_a_linear_classifier_of_the_bags_mean() -> None:
    bags = make_bags([3, 1, 0, 7])
    head = MeanPool(5, 2)
    head.standardise(bags.features)
    logits, attention = head(bags.features, bags.offsets)
    x = (bags.features - head.mean) / head.std
    for bag, (first, last) in enumerate(pairwise(bags.offsets.tolist())):
        mean = x[first:last].mean(0) if last > first else torch.zeros(5)
        torch.testing.assert_close(logits[bag], head.classify(mean))
        assert torch.allclose(attention[first:last], torch.full((last - first,), 1 / max(last - first, 1)))
