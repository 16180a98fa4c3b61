"""A head fitted on the device: near the CPU's, the same twice, and given back on the CPU."""

import dataclasses

import numpy as np
import torch

from tests.mil.test_fit import SETTING, separable
from wsc_ray.mil.fit import fit_head, predict
from wsc_ray.mil.head import HEADS
from wsc_ray.recipe.sections import Tune

ARGUMENTS = {"classes": 2, "epochs": 12, "patience": 12, "bags_per_step": 4, "seed": 0}


def test_a_fit_on_the_device_comes_near_that_of_the_cpu(device):
    train, val = separable(24, seed=1), separable(12, seed=2)
    setting = dataclasses.replace(SETTING, dropout=0.0)  # the device draws other numbers for dropout
    here = fit_head(train, val, setting, **ARGUMENTS)
    there = fit_head(train, val, setting, device=device, **ARGUMENTS)
    assert next(there.head.parameters()).device.type == "cpu"
    torch.testing.assert_close(predict(there.head, val)[0], predict(here.head, val)[0], rtol=1e-3, atol=1e-3)
    assert abs(there.scores["loss"] - here.scores["loss"]) < 1e-3


def test_the_same_arguments_give_the_same_scores_and_leave_the_generator_alone(device):
    train, val = separable(24, seed=1), separable(12, seed=2)
    torch.manual_seed(7)
    expected = torch.rand(3, device=device)
    torch.manual_seed(7)
    scores = [fit_head(train, val, SETTING, device=device, **ARGUMENTS).scores["loss"] for _ in range(2)]
    assert torch.equal(torch.rand(3, device=device), expected)
    assert abs(scores[0] - scores[1]) < 1e-4


def test_a_head_on_the_device_predicts_what_it_does_on_the_cpu(device):
    val = separable(12, seed=2)
    head = fit_head(separable(24, seed=1), val, SETTING, **ARGUMENTS).head
    logits, attention = predict(head, val)
    found = predict(head.to(device), val.to(device))
    torch.testing.assert_close(found[0].cpu(), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1].cpu(), attention, rtol=1e-4, atol=1e-6)


def test_bf16_learns_as_float32_does(device):
    train, val = separable(24, seed=1), separable(12, seed=2)
    scores = {}
    # On a CPU bf16 is slow, and one head shows that this test can run.
    for head in HEADS.names() if device.type == "cuda" else ["abmil"]:
        setting = HEADS[head].draw(Tune(), np.full(HEADS[head].draws(), 0.5))
        for bf16 in (False, True):
            fit = fit_head(train, val, setting, device=device, bf16=bf16, **ARGUMENTS)
            assert all(weight.dtype == torch.float32 for weight in fit.head.parameters())
            scores[bf16] = fit.scores["loss"]
        assert abs(scores[True] - scores[False]) < 0.1, head
