"""The restatements are our losses and the oracle's formulas."""

import pytest
import torch

from benchmarks.loss import restatement
from benchmarks.loss.batch import BASE_TEMPERATURE, PARTS, TEMPERATURE, make_batch
from benchmarks.loss.contenders import CONTENDERS, OURS, RESTATEMENT, contenders
from benchmarks.loss.equal import difference, require_equal, tangent
from benchmarks.loss.measure import run_step
from tests.losses import oracle

ORACLES = {
    "weaksupcon": lambda b: oracle.weaksupcon(b.views.double(), b.labels, t=TEMPERATURE, t0=BASE_TEMPERATURE),
    "similarity": lambda b: oracle.similarity(b.rows.double(), BASE_TEMPERATURE),
    "contrastive": lambda b: oracle.ntxent(*b.views.double().unbind(1), TEMPERATURE, BASE_TEMPERATURE),
    "supcon": lambda b: oracle.supcon(b.rows.double(), b.row_labels, TEMPERATURE, BASE_TEMPERATURE),
}


def test_a_batch_is_half_pure_half_mixed_and_the_same_each_time():
    whole = make_batch("weaksupcon", 32, 8, 0, 1)
    assert whole.views.shape == (32, 2, 8)
    assert whole.labels.float().mean() == 0.5
    assert torch.equal(whole.views, make_batch("supcon", 32, 8, 0, 1).views)
    torch.testing.assert_close(whole.views.norm(dim=-1), torch.ones(32, 2))
    shares = [make_batch("contrastive", 32, 8, rank, 2) for rank in range(2)]
    assert [len(share.views) for share in shares] == [8, 8]
    assert len(torch.cat([share.patches for share in shares]).unique()) == 16
    assert make_batch("similarity", 32, 8, 0, 1).labels.unique().tolist() == [0]
    assert make_batch("contrastive", 32, 8, 0, 1).labels.unique().tolist() == [1]


@pytest.mark.parametrize("part", PARTS)
def test_value_and_gradient_are_ours_and_the_oracles(part):
    batch = make_batch(part, 64, 16, 0, 1)
    found = {one.name: one.make(1) for one in CONTENDERS[part] if one.name in (OURS, RESTATEMENT)}
    found["oracle"] = ORACLES[part]
    values, gradients = {}, {}
    for name, loss in found.items():
        values[name] = run_step(loss, batch)
        gradients[name] = batch.views.grad
    for name in (OURS, RESTATEMENT):
        assert values[name] == pytest.approx(values["oracle"], rel=1e-5)
        torch.testing.assert_close(gradients[name], gradients["oracle"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", ["contrastive", "supcon"])
def test_the_libraries_losses_have_our_value_and_gradient(part):
    for package in ("lightly", "pytorch_metric_learning"):
        pytest.importorskip(package)
    batch = make_batch(part, 64, 16, 0, 1)
    values, gradients = {}, {}
    for one in contenders(part):
        values[one.name] = run_step(one.make(1), batch)
        gradients[one.name] = tangent(batch.views.detach(), batch.views.grad)
    assert len(values) == {"contrastive": 4, "supcon": 3}[part]
    require_equal(part, OURS, values, {name: difference(gradients[OURS], grad) for name, grad in gradients.items()})


def test_several_labels():
    batch = make_batch("supcon", 24, 8, 0, 1)
    labels = torch.arange(48) % 3
    z = batch.rows.detach()
    found = restatement.contrast(z, labels, TEMPERATURE, BASE_TEMPERATURE)
    torch.testing.assert_close(found.double(), oracle.supcon(z.double(), labels), rtol=1e-5, atol=0)
    found = restatement.similarity(z, labels, BASE_TEMPERATURE)
    torch.testing.assert_close(found.double(), oracle.similarity_of_labels(z.double(), labels), rtol=1e-5, atol=0)
