"""Views made in torch, on CPU tensors, against those that OpenCV makes of the same parameters."""

import numpy as np
import pytest
import torch

from tests.stream.drawn import draw_parameters
from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream import device
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.device import augment_on_device

STILL = {"scale": (1, 1), "ratio": (1, 1), "hflip": 0, "jitter": 0, "grayscale": 0}
OPERATIONS = {
    "none": STILL,
    "crop": {**STILL, "scale": (0.2, 1.0), "ratio": (3 / 4, 4 / 3)},
    "flips and turns": {**STILL, "hflip": 0.5, "vflip": 0.5, "rotate90": True},
    "brightness": {**STILL, "jitter": 1, "contrast": 0, "saturation": 0, "hue": 0},
    "contrast": {**STILL, "jitter": 1, "brightness": 0, "saturation": 0, "hue": 0},
    "saturation": {**STILL, "jitter": 1, "brightness": 0, "contrast": 0, "hue": 0},
    "hue": {**STILL, "jitter": 1, "brightness": 0, "contrast": 0, "saturation": 0},
    "grayscale": {**STILL, "grayscale": 1},
    "blur": {**STILL, "blur": 0.7},
    "stains": {**STILL, "hed": 0.05},
    "strong stains": {**STILL, "hed": 0.2},
    "the paper's": {},
    "all": {"vflip": 0.5, "rotate90": True, "blur": 0.5, "hed": 0.05},
}
# OpenCV rounds to bytes after every operation, the device once at the end: each rounding moves a value by 0.25 on
# average and 0.5 at most, and later contrast or brightness stretches that by up to 1.4 * 1.4.
MEAN_TOLERANCE, MOST = 0.6, 4


@pytest.fixture(scope="module")
def images():
    """(12, 60, 60, 3) of drawn tissue, each of another stain."""
    rng = np.random.default_rng(0)
    return np.stack([draw_patch(rng, tumour=n % 2 == 0, stain=draw_stain(rng), size=60) for n in range(12)])


def parameters_of(config, images):
    return np.stack([draw_parameters(config, *image.shape[:2], 1, n) for n, image in enumerate(images)])


def on_device(images, parameters, size):
    return augment_on_device(torch.from_numpy(images), torch.from_numpy(parameters), size)


@pytest.mark.parametrize("size", [96, 60, 54, 24], ids=["enlarged", "as is", "shrunk a little", "shrunk much"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_parameters_give_nearly_the_same_picture(images, name, size):
    parameters = parameters_of(Augment(size=size, **OPERATIONS[name]), images)
    cpu = np.stack([[apply_view(x, row, size) for row in p] for x, p in zip(images, parameters, strict=True)])
    device = on_device(images, parameters, size)
    assert device.dtype == torch.uint8
    assert device.shape == (12, 2, size, size, 3)
    apart = np.abs(cpu.astype(int) - device.numpy())
    assert apart.mean((2, 3, 4)).max() <= MEAN_TOLERANCE
    assert apart.max() <= MOST


def test_padding_below_and_to_the_right_is_never_seen(images):
    parameters = parameters_of(Augment(size=32), images)
    noise = np.random.default_rng(1).integers(0, 256, (12, 80, 70, 3), dtype=np.uint8)
    noise[:, :60, :60] = images
    apart = (on_device(images, parameters, 32).int() - on_device(noise, parameters, 32).int()).abs()
    assert apart.max() <= 1
    assert apart.float().mean() < 0.001


def test_a_view_does_not_depend_on_those_beside_it(images):
    parameters = parameters_of(Augment(size=32, **OPERATIONS["all"]), images)
    together = on_device(images, parameters, 32)
    alone = torch.cat([on_device(images[n : n + 1], parameters[n : n + 1], 32) for n in range(len(images))])
    assert (together.int() - alone.int()).abs().max() <= 1  # where a rounding falls to the other side
    assert (together != alone).float().mean() < 0.001


def test_autocast_around_it_changes_nothing(images):
    parameters = parameters_of(Augment(size=32, **OPERATIONS["all"]), images)
    plain = on_device(images, parameters, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(on_device(images, parameters, 32), plain)


def test_a_patch_does_not_depend_on_its_batch(images):
    parameters = parameters_of(Augment(size=32, **OPERATIONS["all"]), images)
    whole = on_device(images, parameters, 32)
    parts = torch.cat([on_device(images[n : n + 1], parameters[n : n + 1], 32) for n in range(12)])
    apart = (whole.int() - parts.int()).abs()
    assert apart.max() <= 1  # a blur's kernel reaches as far as the widest of its batch
    assert apart.float().mean() < 0.02


@pytest.mark.parametrize("size", [96, 54, 24], ids=["enlarged", "shrunk a little", "shrunk much"])
@pytest.mark.parametrize("name", ["all", "strong stains", "hue"])
def test_half_precision_as_on_a_gpu_is_as_near(images, name, size, monkeypatch):
    monkeypatch.setitem(device._DTYPE, "cpu", torch.float16)
    parameters = parameters_of(Augment(size=size, **OPERATIONS[name]), images)
    cpu = np.stack([[apply_view(x, row, size) for row in p] for x, p in zip(images, parameters, strict=True)])
    apart = np.abs(cpu.astype(int) - on_device(images, parameters, size).numpy())
    assert apart.mean((2, 3, 4)).max() <= MEAN_TOLERANCE
    assert apart.max() <= MOST
