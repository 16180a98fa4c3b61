"""The fused kernels in Triton's interpreter, a process of its own: it has to be chosen before Triton is imported."""

import importlib.util
import os
import subprocess
import sys

import pytest

CODE = """
import torch
from wsc_ray.losses import fused, tiles

for rows, width, first, last in ((100, 16, 0, 100), (130, 32, 20, 77), (64, 128, 0, 64), (2, 16, 0, 2), (70, 16, 5, 5)):
    z = torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(rows)), dim=1)
    mine, everything, weight = slice(first, last), slice(0, rows), torch.rand(rows)
    for temperature in (0.05, 0.5):
        if last > first:
            expected = tiles.log_sum_exp(z.double(), mine, temperature, None)
            torch.testing.assert_close(fused.log_sum_exp(z, mine, temperature).double(), expected, rtol=1e-5, atol=1e-5)
            lse = tiles.log_sum_exp(z.double(), everything, temperature, None)
            expected = tiles.log_sum_exp_grad(z.double(), mine, lse, weight.double(), temperature, None)
            found = fused.log_sum_exp_grad(z, mine, lse.float(), weight, temperature).double()
            assert (found - expected).norm() <= 1e-5 * expected.norm()
        else:
            assert fused.log_sum_exp(z, mine, temperature).shape == (0,)
            assert fused.log_sum_exp_grad(z, mine, weight, weight, temperature).shape == (0, width)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton comes with torch's CUDA builds alone")
def test_the_kernels_are_the_tiles():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
