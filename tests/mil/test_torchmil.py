"""Our heads against torchmil's, with the same weights, for the same bag, to 1e-5.

torchmil's models have one logit, ours one a class: its logit is the difference of our two. Weights are copied both ways:
ours to torchmil's as they are drawn, and torchmil's to ours, where the negative class then has zeros.

What torchmil 1.0.2 cannot say is held to `test_textbook.py`: several classes; CLAM with a branch for each class, which it has
not, and the smooth SVM loss, which it takes of each instance with the targets of all (its CLAM gets another loss function
here); the convolution of values and the output layer of TransMIL's attention, which it leaves out (here ours are set to
nothing and to the identity); of DTFD-MIL every distillation but `afs`, for it distils all instances of a pseudo-bag, and its
attention is never gated. DTFD-MIL's tiers it trains as one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wsc_ray.mil.head import PackedHead
from wsc_ray.mil.heads.abmil import AttentionMIL
from wsc_ray.mil.heads.clam_sb import ClamSB
from wsc_ray.mil.heads.dsmil import DSMIL
from wsc_ray.mil.heads.dtfd import DTFD
from wsc_ray.mil.heads.max import MaxPool
from wsc_ray.mil.heads.mean import MeanPool
from wsc_ray.mil.heads.transmil import TransMIL

from .cohort import make_bags

models = pytest.importorskip("torchmil.models")
pools = pytest.importorskip("torchmil.nn")

D, WIDTH, ATTENTION = 5, 16, 6
SIZES = [1, 2, 4, 9, 23, 24, 25, 100]
both_ways = pytest.mark.parametrize("to_theirs", [True, False], ids=["ours-to-theirs", "theirs-to-ours"])


@torch.no_grad()
def copy(ours: torch.Tensor, theirs: torch.Tensor, *, to_theirs: bool) -> None:
    """One tensor; theirs may have another shape with as many numbers."""
    assert ours.numel() == theirs.numel()
    source, target = (ours, theirs) if to_theirs else (theirs, ours)
    target.copy_(source.reshape(target.shape))


def linear(layer: nn.Module) -> nn.Module:
    """The layer in torchmil's LazyLinear, or the layer itself."""
    return getattr(layer, "module", layer)


def copy_layer(ours: nn.Module, theirs: nn.Module, *, to_theirs: bool) -> None:
    """A layer with its bias; where theirs has none, ours has zeros from then on."""
    theirs = linear(theirs)
    copy(ours.weight, theirs.weight, to_theirs=to_theirs)
    if theirs.bias is None:
        ours.bias.data.zero_()
    else:
        copy(ours.bias, theirs.bias, to_theirs=to_theirs)


@torch.no_grad()
def copy_classifier(ours: nn.Linear, theirs: nn.Linear, *, to_theirs: bool) -> None:
    """Our two logits and their one."""
    theirs = linear(theirs)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        if to_theirs:
            other.copy_((mine[1] - mine[0]).reshape(other.shape))
        else:
            mine[0].zero_()
            mine[1].copy_(other.reshape(mine[1].shape))


def copy_attention(ours: nn.Module, theirs: nn.Module, *, to_theirs: bool) -> None:
    """The layers of attention pooling; their score has no bias, which softmax takes away anyway."""
    copy_layer(ours.tanh, theirs.fc1, to_theirs=to_theirs)
    copy_layer(ours.score, theirs.fc2, to_theirs=to_theirs)
    if ours.gate is not None:
        copy_layer(ours.gate, theirs.fc_gated, to_theirs=to_theirs)


def embedding() -> nn.Sequential:
    """What torchmil's models take in front, as the heads that embed instances do."""
    return nn.Sequential(nn.Linear(D, WIDTH), nn.ReLU())


def bag(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    bags = make_bags([size], width=D, seed=size)
    return bags.features, bags.offsets


def logit(head: PackedHead, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The difference of both logits, (1,), and attention (n,)."""
    logits, attention = head(features, offsets)
    return logits[:, 1] - logits[:, 0], attention


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@both_ways
@pytest.mark.parametrize("gated", [True, False])
def test_abmil(gated: bool, to_theirs: bool) -> None:
    torch.manual_seed(0)
    ours = AttentionMIL(D, 2, hidden=WIDTH, attention=ATTENTION, gated=gated).eval()
    theirs = models.ABMIL((D,), att_dim=ATTENTION, gated=gated, feat_ext=embedding()).eval()
    copy_layer(ours.embed, theirs.feat_ext[0], to_theirs=to_theirs)
    copy_attention(ours, theirs.pool, to_theirs=to_theirs)
    copy_classifier(ours.classify, theirs.classifier, to_theirs=to_theirs)
    for size in SIZES:
        features, offsets = bag(size)
        found, attention = logit(ours, features, offsets)
        expected, scores = theirs(features[None], return_att=True)
        close(found, expected)
        close(attention, scores.softmax(1)[0])


class SmoothSVM(nn.Module):
    """The smooth top-1 SVM loss that torchmil's should be: log of the sum over classes, with a margin for the wrong one."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        true = logits.gather(1, targets.long())
        wrong = torch.arange(2) != targets
        return (logits + wrong.float() - true).logsumexp(1).mean()


@both_ways
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("label", [0, 1])
def test_clam_sb_and_its_loss_of_instances(label: int, gated: bool, to_theirs: bool) -> None:
    torch.manual_seed(1)
    ours = ClamSB(
        D, 2, hidden=WIDTH, attention=ATTENTION, gated=gated, instances=8, bag_weight=0.7, exclusive=True
    ).eval()
    theirs = models.CLAM_SB((D,), att_dim=ATTENTION, k_sample=8, gated=gated, feat_ext=embedding()).eval()
    copy_layer(ours.embed, theirs.feat_ext[0], to_theirs=to_theirs)
    copy_attention(ours, theirs.pool, to_theirs=to_theirs)
    copy_classifier(ours.classify, theirs.classifier, to_theirs=to_theirs)
    for one, classifier in enumerate(theirs.inst_classifiers):
        mine = slice(2 * one, 2 * one + 2)
        copy(ours.cluster.weight[mine], linear(classifier).weight, to_theirs=to_theirs)
        copy(ours.cluster.bias[mine], linear(classifier).bias, to_theirs=to_theirs)
    theirs.inst_loss_fn = SmoothSVM()
    labels = torch.tensor([label])
    for size in SIZES:
        features, offsets = bag(size)
        found, attention = logit(ours, features, offsets)
        expected, losses = theirs.compute_loss(labels, features[None])
        close(found, expected)
        close(attention, theirs(features[None], return_att=True)[1].softmax(1)[0])
        # It sums over the two classes, where the authors' code, and we, take their mean.
        instances = losses["InstLoss"] / 2
        close(ours.instance_losses(*ours.embedded(features), offsets, labels)[0], instances)
        total = 0.7 * losses["BCEWithLogitsLoss"] + 0.3 * instances
        close(ours.training_losses(features, offsets, labels)[0], total)


@both_ways
@pytest.mark.parametrize("label", [0, 1])
def test_dsmil_and_its_loss_of_the_critical_instance(label: int, to_theirs: bool) -> None:
    """Each of our classes has a critical instance, torchmil's one class one: ours of the negative class has zeros here."""
    torch.manual_seed(2)
    ours = DSMIL(D, 2, hidden=D, attention=ATTENTION).eval()
    theirs = models.DSMIL((D,), att_dim=ATTENTION, nonlinear_q=True, nonlinear_v=True).eval()
    with torch.no_grad():
        for tensor in (ours.instance.weight[0], ours.instance.bias[0], ours.classify.weight[0], ours.classify.bias[0]):
            tensor.zero_()
        ours.classify.weight[1, :D].zero_()  # what the negative class's mean adds to the positive logit
    copy(ours.instance.weight[1], theirs.inst_classifier.weight, to_theirs=to_theirs)
    copy(ours.instance.bias[1], theirs.inst_classifier.bias, to_theirs=to_theirs)
    copy(ours.classify.weight[1, D:], theirs.bag_classifier.weight, to_theirs=to_theirs)
    copy(ours.classify.bias[1], theirs.bag_classifier.bias, to_theirs=to_theirs)
    for index in (0, 2):
        copy_layer(ours.query[index], theirs.q_nn[index], to_theirs=to_theirs)
    copy_layer(ours.value[1], theirs.v_nn[1], to_theirs=to_theirs)
    labels = torch.tensor([label])
    for size in SIZES:
        features, offsets = bag(size)
        found, _ = logit(ours, features, offsets)
        close(found, theirs.predict(features[None]))
        close(ours.streams(features, offsets)[2][:, 1], theirs(features[None], return_att=True)[1][0, :, 0])
        _, losses = theirs.compute_loss(labels, features[None])
        close(ours.training_losses(features, offsets, labels)[0], 0.5 * sum(losses.values()))


@both_ways
def test_transmil(to_theirs: bool) -> None:
    torch.manual_seed(3)
    ours = TransMIL(D, 2, hidden=WIDTH).eval()
    theirs = models.TransMIL((D,), att_dim=WIDTH, n_heads=8, feat_ext=embedding()).eval()
    for layer in ours.layers:
        nn.init.zeros_(layer.skip.weight)
        nn.init.eye_(layer.out.weight)
        nn.init.zeros_(layer.out.bias)
    copy_layer(ours.embed, theirs.feat_ext[0], to_theirs=to_theirs)
    copy(ours.token, theirs.cls_token, to_theirs=to_theirs)
    for layer, norm, other in zip(ours.layers, ours.norms, theirs.layers, strict=True):
        copy(layer.qkv.weight, other.att_module.qkv_nn.weight, to_theirs=to_theirs)
        copy_layer(norm, other.norm1, to_theirs=to_theirs)
    convolutions = (theirs.pos_layer.proj, theirs.pos_layer.proj1, theirs.pos_layer.proj2)
    for conv, other in zip(ours.positions, convolutions, strict=True):
        copy_layer(conv, other, to_theirs=to_theirs)
    copy_layer(ours.norm, theirs.norm, to_theirs=to_theirs)
    copy_classifier(ours.classify, theirs.classifier, to_theirs=to_theirs)
    for size in SIZES:
        features, offsets = bag(size)
        found, attention = logit(ours, features, offsets)
        expected, weights = theirs(features[None], return_att=True)
        close(found, expected)
        if size**0.5 % 1 == 0:  # no instance fills the square twice, of which it returns the first alone
            weights = weights[0].clamp(min=0)
            close(attention, weights / weights.sum())


@both_ways
@pytest.mark.parametrize("label", [0, 1])
def test_dtfd_and_its_first_tier(label: int, to_theirs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = 4

    def shuffle(rows: np.ndarray) -> None:
        """The order whose runs are our pseudo-bags: every fourth instance, from the first, from the second, ..."""
        rows[:] = np.concatenate([np.arange(first, len(rows), groups) for first in range(groups)])

    monkeypatch.setattr(np.random, "shuffle", shuffle)
    torch.manual_seed(4)
    ours = DTFD(D, 2, hidden=WIDTH, attention=ATTENTION, gated=False, pseudo_bags=groups, distill="afs").eval()
    theirs = models.DTFDMIL((D,), att_dim=ATTENTION, n_groups=groups, distill_mode="afs", feat_ext=embedding()).eval()
    copy_layer(ours.embed, theirs.feat_ext[0], to_theirs=to_theirs)
    copy_attention(ours.first, theirs.attention_pool, to_theirs=to_theirs)
    copy_attention(ours.second, theirs.u_attention_pool, to_theirs=to_theirs)
    copy_classifier(ours.classify_first, theirs.classifier, to_theirs=to_theirs)
    copy_classifier(ours.classify, theirs.u_classifier, to_theirs=to_theirs)
    labels = torch.tensor([label])
    for size in SIZES:
        features, offsets = bag(size)
        expected, pseudo = theirs(features[None], return_pseudo_pred=True)
        close(logit(ours, features, offsets)[0], expected)
        tiers = ours.tiers(features, offsets)
        close((tiers.first_logits[:, 1] - tiers.first_logits[:, 0])[tiers.filled], pseudo[0])
        _, losses = theirs.compute_loss(labels, features[None])
        close(ours.training_losses(features, offsets, labels)[0], sum(losses.values()))


@pytest.mark.parametrize(("ours", "theirs"), [(MeanPool, "MeanPool"), (MaxPool, "MaxPool")])
def test_pooling(ours: type[PackedHead], theirs: str) -> None:
    torch.manual_seed(5)
    head, pool = ours(D, 2).eval(), getattr(pools, theirs)()
    for size in SIZES:
        features, offsets = bag(size)
        close(head(features, offsets)[0], head.classify(pool(features[None])))
