"""Heads against what their papers say of one bag, written once more without packing, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wsc_ray.mil.heads.clam_mb import ClamMB
from wsc_ray.mil.heads.clam_sb import ClamSB, smooth_svm
from wsc_ray.mil.heads.dsmil import DSMIL
from wsc_ray.mil.heads.dtfd import DISTILLATIONS, DTFD
from wsc_ray.mil.heads.instance_mean import InstanceMean
from wsc_ray.mil.heads.max import MaxPool
from wsc_ray.mil.heads.mean_mlp import MeanMLP
from wsc_ray.mil.heads.transmil import TransMIL
from wsc_ray.mil.nystrom import NystromAttention, pseudo_inverse

from .cohort import make_bags

D, CLASSES = 5, 4
SIZES = [1, 2, 7, 16, 23]
several = pytest.mark.parametrize("size", SIZES)
softmax, cross_entropy = torch.softmax, nn.functional.cross_entropy


def bag(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    bags = make_bags([size], width=D, seed=size)
    return bags.features.double(), bags.offsets


def make(kind, classes: int = CLASSES, **options):
    torch.manual_seed(0)
    return kind(D, classes, **options).double().eval()


def scores_of(h: torch.Tensor, part: nn.Module) -> torch.Tensor:
    a = torch.tanh(h @ part.tanh.weight.T + part.tanh.bias)
    if part.gate is not None:
        a = a / (1 + torch.exp(-(h @ part.gate.weight.T + part.gate.bias)))
    return a @ part.score.weight.T + part.score.bias


@several
def test_mean_mlp(size: int) -> None:
    head, (x, offsets) = make(MeanMLP, hidden=6), bag(size)
    mean = torch.relu(head.embed(x)).mean(0)
    torch.testing.assert_close(head(x, offsets)[0][0], head.classify(torch.relu(head.layer(mean))))


@several
def test_instance_mean(size: int) -> None:
    head, (x, offsets) = make(InstanceMean, hidden=6), bag(size)
    torch.testing.assert_close(head(x, offsets)[0][0], head.classify(torch.relu(head.embed(x))).mean(0))


@several
def test_max_and_which_instances_it_saw(size: int) -> None:
    head, (x, offsets) = make(MaxPool), bag(size)
    logits, attention = head(x, offsets)
    largest, rows = x.max(0)
    torch.testing.assert_close(logits[0], head.classify(largest))
    assert (attention * D).round().tolist() == torch.bincount(rows, minlength=size).tolist()


@pytest.mark.parametrize("kind", [ClamSB, ClamMB])
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("gated", [True, False])
@several
def test_clam(size: int, gated: bool, exclusive: bool, kind: type[ClamSB]) -> None:
    head = make(kind, hidden=6, attention=3, gated=gated, instances=3, bag_weight=0.6, exclusive=exclusive)
    x, offsets = bag(size)
    h = torch.relu(head.embed(x))
    weights = softmax(scores_of(h, head), dim=0)
    weights = weights.expand(-1, CLASSES)  # with a single branch every class has the same
    means = weights.T @ h  # (C, L)
    logits = torch.stack([head.classify.weight[c] @ means[c] + head.classify.bias[c] for c in range(CLASSES)])
    found, attention = head(x, offsets)
    torch.testing.assert_close(found[0], logits)
    torch.testing.assert_close(attention, weights[:, logits.argmax()])
    for label in range(CLASSES):
        losses = []
        for c in range(CLASSES):
            order, k = weights[:, c].argsort(descending=True), min(3, size)
            out, inside = (head.cluster(h)[:, 2 * c + side] for side in (0, 1))
            first, last = order[:k], order[-k:]
            if c == label:
                true = torch.cat([inside[first], out[last]])
                other = torch.cat([out[first], inside[last]])
            elif exclusive:
                true, other = out[first], inside[first]
            else:
                continue
            # Berrada et al.: log of the sum over both classes, with the margin for the wrong one.
            both = torch.stack([true - true, 1 + other - true])
            losses.append(both.exp().sum(0).log().mean())
        instances = sum(losses) / (CLASSES if exclusive else 1)
        target = torch.tensor([label])
        expected = 0.6 * cross_entropy(logits[None], target) + 0.4 * instances
        torch.testing.assert_close(head.training_losses(x, offsets, target)[0], expected)


def test_the_smooth_svm_loss_of_large_margins() -> None:
    margins = torch.tensor([-1e4, 1e4, 1.0], dtype=torch.float64)
    torch.testing.assert_close(smooth_svm(margins), torch.tensor([1e4 + 1, 0, math.log(2)], dtype=torch.float64))


def test_attention_of_clam_takes_no_gradient_from_the_loss_of_instances() -> None:
    head = make(ClamSB, hidden=6, attention=3, gated=True, instances=3, bag_weight=0.6, exclusive=True)
    x, offsets = bag(9)
    head.instance_losses(*head.embedded(x), offsets, torch.tensor([1])).sum().backward()
    assert head.cluster.weight.grad.any()
    assert head.embed.weight.grad.any()
    assert head.score.weight.grad is None


@several
def test_dsmil(size: int) -> None:
    head, (x, offsets) = make(DSMIL, hidden=6, attention=3), bag(size)
    scores, q, v = head.instance(x), head.query(x), head.value(x)
    critical = scores.argmax(0)  # (C,)
    weights = softmax(q @ q[critical].T / math.sqrt(3), dim=0)  # (n, C)
    means = weights.T @ v  # (C, L)
    kernel = head.classify.weight.view(CLASSES, CLASSES, 6)  # a convolution over all of (C, L)
    pooled = torch.einsum("kcl,cl->k", kernel, means) + head.classify.bias
    logits, attention = head(x, offsets)
    expected = (scores.max(0).values + pooled) / 2
    torch.testing.assert_close(logits[0], expected)
    torch.testing.assert_close(attention, weights[:, expected.argmax()])
    target = torch.tensor([2])
    losses = cross_entropy(scores.max(0).values[None], target) + cross_entropy(pooled[None], target)
    torch.testing.assert_close(head.training_losses(x, offsets, target)[0], losses / 2)


@pytest.mark.parametrize("distill", DISTILLATIONS)
@pytest.mark.parametrize("classes", [2, 4])
@several
def test_dtfd(size: int, classes: int, distill: str) -> None:
    head = make(DTFD, classes, hidden=6, attention=3, gated=True, pseudo_bags=3, distill=distill)
    x, offsets = bag(size)
    target = torch.tensor([1])
    features, firsts, owners, weights = [], [], [], []
    for part in [part for part in (x[first::3] for first in range(3)) if len(part)]:
        h = torch.relu(head.embed(part))
        a = softmax(scores_of(h, head.first).squeeze(1), dim=0)
        firsts.append(cross_entropy(head.classify_first(a @ h)[None], target))
        activation = (len(part) * a[:, None] * h) @ head.classify_first.weight.T
        positive = 1 - softmax(activation, dim=1)[:, 0]
        given = {
            "maxs": [h[positive.argmax()]],
            "maxmins": [h[positive.argmax()], h[positive.argmin()]],
            "mas": [h[a.argmax()]],
            "afs": [a @ h],
        }[distill]
        owners += [len(weights)] * len(given)
        features += given
        weights.append(a)
    features = torch.stack(features)
    second = softmax(scores_of(features, head.second).squeeze(1), dim=0)
    expected = head.classify(second @ features)
    logits, attention = head(x, offsets)
    torch.testing.assert_close(logits[0], expected)
    shares = torch.zeros(len(weights), dtype=torch.float64).index_add(0, torch.tensor(owners), second)
    for number, (a, share) in enumerate(zip(weights, shares, strict=True)):
        torch.testing.assert_close(attention[number::3], a * share)
    loss = cross_entropy(expected[None], target) + torch.stack(firsts).mean()
    torch.testing.assert_close(head.training_losses(x, offsets, target)[0], loss)


def test_the_second_tier_of_dtfd_leaves_the_first_alone() -> None:
    head = make(DTFD, hidden=6, attention=3, gated=True, pseudo_bags=3, distill="afs")
    head(*bag(20))[0].sum().backward()
    assert head.second.tanh.weight.grad.any()
    assert all(layer.weight.grad is None for layer in (head.embed, head.first.tanh, head.classify_first))


def test_pseudo_bags_are_drawn_anew_from_torchs_random_numbers_while_it_trains() -> None:
    head = make(DTFD, hidden=6, attention=3, gated=True, pseudo_bags=3, distill="mas")
    rows, offsets = torch.repeat_interleave(torch.arange(2), torch.tensor([20, 7])), torch.tensor([0, 20, 27])
    assert head.part_in_bag(offsets, rows).tolist() == [*(i % 3 for i in range(20)), *(i % 3 for i in range(7))]
    head.train()
    torch.manual_seed(5)
    first, second = head.part_in_bag(offsets, rows), head.part_in_bag(offsets, rows)
    torch.manual_seed(5)
    assert torch.equal(head.part_in_bag(offsets, rows), first)
    assert not torch.equal(first, second)
    for parts in (first, second):
        assert torch.bincount(parts[:20]).tolist() == [7, 7, 6]
        assert torch.bincount(parts[20:]).tolist() == [3, 2, 2]


def attended(layer: NystromAttention, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nystrom attention of one sequence (s, W), head by head and token by token."""
    s, width = tokens.shape
    m, d = layer.landmarks, width // layer.heads
    each = math.ceil(s / m)
    x = torch.cat([tokens.new_zeros(each * m - s, width), tokens])
    q, k, v = (x @ layer.qkv.weight.T).chunk(3, dim=1)
    middles, ends = [], []
    for head in range(layer.heads):
        mine = slice(head * d, (head + 1) * d)
        qh, kh = q[:, mine] / math.sqrt(d), k[:, mine]
        q_mean, k_mean = (torch.stack([part.mean(0) for part in z.split(each)]) for z in (qh, kh))
        middles.append(softmax(q_mean @ k_mean.T, dim=1))
        ends.append((softmax(qh @ k_mean.T, dim=1), softmax(q_mean @ kh.T, dim=1), v[:, mine]))
    # The start of the iteration is scaled by the largest sums of rows and of columns, over all heads.
    rows = max(middle.sum(1).max() for middle in middles)
    columns = max(middle.sum(0).max() for middle in middles)
    outs, attentions = [], []
    for head, (middle, (left, right, value)) in enumerate(zip(middles, ends, strict=True)):
        z, eye = middle.T / (rows * columns), torch.eye(m, dtype=x.dtype)
        for _ in range(6):
            z = z @ (13 * eye - middle @ z @ (15 * eye - middle @ z @ (7 * eye - middle @ z))) / 4
        attention = left @ z @ right
        kernel = layer.skip.weight[head].flatten()  # over the tokens around, each number of the value alike
        around = nn.functional.pad(value, (0, 0, 16, 16)).unfold(0, 33, 1)  # (t, d, 33)
        outs.append(attention @ value + around @ kernel)
        attentions.append(attention)
    y = layer.out(torch.cat(outs, dim=1))
    return y[-s:], torch.stack(attentions).mean(0)[-s:, -s:]


@pytest.mark.parametrize("hidden", [16, 10])
@several
def test_transmil(size: int, hidden: int) -> None:
    head, (x, offsets) = make(TransMIL, hidden=hidden), bag(size)
    assert [layer.heads for layer in head.layers] == [math.gcd(hidden, 8)] * 2
    h = torch.relu(head.embed(x))
    side = math.ceil(math.sqrt(size))
    h = torch.cat([h, h[: side * side - size]])
    tokens = torch.cat([head.token[None], h])
    tokens = tokens + attended(head.layers[0], head.norms[0](tokens))[0]
    grid = tokens[1:].T.reshape(1, hidden, side, side)
    grid = grid + head.positions[0](grid) + head.positions[1](grid) + head.positions[2](grid)
    tokens = torch.cat([tokens[:1], grid.reshape(hidden, side * side).T])
    change, attention = attended(head.layers[1], head.norms[1](tokens))
    expected = head.classify(head.norm(tokens + change)[0])
    logits, found = head(x, offsets)
    torch.testing.assert_close(logits[0], expected)
    weights = attention[0, 1:].clamp(min=0)
    twice = weights[size:]
    weights = weights[:size] + nn.functional.pad(twice, (0, size - len(twice)))
    torch.testing.assert_close(found, weights / weights.sum())


def test_the_pseudo_inverse_of_a_good_matrix_is_its_inverse() -> None:
    torch.manual_seed(0)
    x = torch.softmax(torch.randn(2, 3, 8, 8, dtype=torch.float64) + 4 * torch.eye(8, dtype=torch.float64), dim=-1)
    torch.testing.assert_close(pseudo_inverse(x, 12), torch.linalg.inv(x))
