"""`python -m benchmarks.backbones`: its depthwise products, its views, and the study from beginning to end."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks.backbones.__main__ import main
from benchmarks.backbones.small_maps import SmallMapDepthwise, replace_depthwise, restore_depthwise
from benchmarks.backbones.trainer import BACKBONES, batches
from benchmarks.evidence.options import OF_BACKBONES
from benchmarks.evidence.pool import Slides
from benchmarks.evidence.study import candidate_tasks
from wsc_ray.encoders import build_encoder, load_exported
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import two_views
from wsc_ray.stream.order import Geometry

POOL = Path(os.environ.get("WSC_RAY_COHORTS", "/nonexistent")) / "pcam-pool" / "patches.parquet"
WEIGHTS = Path(os.environ.get("WSC_RAY_WEIGHTS", "/nonexistent")) / "tf_efficientnet_lite0"


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (1, 4), (4, 4), (6, 6)])
def test_products_are_the_convolution_and_so_are_their_gradients(kernel, shape):
    torch.manual_seed(0)
    conv = nn.Conv2d(7, 7, kernel, padding=kernel // 2, groups=7, bias=False).double()
    x = torch.randn(3, 7, *shape, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(3, 7, *shape, dtype=torch.float64)
    wanted = torch.autograd.grad((conv(x) * pull).sum(), [x, conv.weight])
    products = SmallMapDepthwise(conv)
    torch.testing.assert_close(products(x), conv(x), rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad((products(x) * pull).sum(), [x, conv.weight])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_an_encoder_with_products_is_the_same_encoder():
    encoder = build_encoder("tf_efficientnet_lite0", size=32, head_hidden=8, head_dim=8).double().eval()
    names, pixels = list(encoder.state_dict()), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before = encoder(pixels)
    replace_depthwise(encoder)
    assert sum(isinstance(module, SmallMapDepthwise) for module in encoder.modules()) > 5
    torch.testing.assert_close(encoder(pixels), before, rtol=1e-9, atol=1e-9)
    restore_depthwise(encoder)
    assert list(encoder.state_dict()) == names
    torch.testing.assert_close(encoder(pixels), before, rtol=0, atol=0)


def test_every_step_draws_the_two_views_that_the_stream_would():
    """A patch's pixels are its row, so that a view without changes of colour says whose it is."""
    rows = np.arange(4 * 50).reshape(4, 50)
    images = {row: np.full((24, 24, 3), row, np.uint8) for row in range(200)}
    plain = Augment(size=16, jitter=0, grayscale=0)
    geometry = Geometry(seed=3, sampling="epoch", batch_size=8, shards=1, steps=25, window=25)
    seen = []
    for step, batch in enumerate(batches(Slides(rows), images, geometry, plain)):
        assert batch["views"].shape == (8, 2, 16, 16, 3)
        assert batch["label"].tolist() == [0] * 4 + [1] * 4
        assert set(batch["step"].tolist()) == {step}
        assert (batch["views"] == batch["views"][:, :1, :1, :1, :1]).all()
        of = batch["views"][:, 0, 0, 0, 0].tolist()
        assert [row // 50 % 2 for row in of] == batch["label"].tolist()  # odd slides are positive
        seen += of
    assert sorted(seen) == list(range(200))  # 25 steps of 8 are every patch once
    full = Augment(size=16)
    (batch,) = batches(Slides(rows), dict.fromkeys(images, gradient()), replace(geometry, steps=1, window=1), full)
    assert (batch["views"][0] == two_views(gradient(), full, 3, 0)).all()
    assert not (batch["views"][0] == batch["views"][1]).all()


def gradient():
    return np.add.outer(np.arange(24) * 5, np.arange(24) * 5)[..., None].repeat(3, 2).astype(np.uint8)


def test_nothing_is_chosen_where_each_arm_has_one_setting():
    assert candidate_tasks(BACKBONES.candidates, OF_BACKBONES) == []
    assert {len(settings) for settings in BACKBONES.candidates.values()} == {1}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not POOL.is_file() or not WEIGHTS.is_dir(), reason="WSC_RAY_COHORTS or WSC_RAY_WEIGHTS lacks them")
def test_the_study_runs_and_goes_on(tmp_path):
    page = tmp_path / "page.md"
    arguments = ["--pool", str(POOL), "--weights", str(WEIGHTS), "--out", str(tmp_path / "out"), "--processes", "1"]
    arguments += ["--quick", "--markdown", str(page)]
    told = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert page.with_suffix(".png").is_file()
    first = table_of(page.read_text())
    (lost,) = (tmp_path / "out" / "runs").glob("test-0.1-weaksupcon-*.json")
    lost.unlink()
    told = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert told.exit_code == 0
    assert f"1/1 {lost.name}" in told.output
    assert first
    assert table_of(page.read_text()) == first
    backbone, config = load_exported(tmp_path / "out" / "encoders" / "0.1-simclr-0")
    assert (config["architecture"], backbone.num_features) == ("tf_efficientnet_lite0", 1280)
    told = CliRunner().invoke(main, [word for word in arguments if word != "--quick"])
    assert told.exit_code == 2
    assert "holds a study of other options" in told.output


def table_of(text):
    return [line for line in text.splitlines() if line.startswith("| 10%")]
