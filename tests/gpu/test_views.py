"""Views made on the device against those that OpenCV makes on the CPU of the same parameters, and pixels on their way."""

import numpy as np
import pytest
import torch

from tests.stream.test_device import MEAN_TOLERANCE, MOST, OPERATIONS, parameters_of
from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.encoders import normalise_pixels
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.device import augment_on_device


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return np.stack([draw_patch(rng, tumour=n % 2 == 0, stain=draw_stain(rng), size=60) for n in range(12)])


@pytest.mark.parametrize("size", [96, 54, 24])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_parameters_give_nearly_the_same_picture(device, images, name, size):
    parameters = parameters_of(Augment(size=size, **OPERATIONS[name]), images)
    cpu = np.stack([[apply_view(x, row, size) for row in p] for x, p in zip(images, parameters, strict=True)])
    found = augment_on_device(torch.from_numpy(images).to(device), torch.from_numpy(parameters), size)
    assert found.device.type == device.type
    apart = np.abs(cpu.astype(int) - found.cpu().numpy())
    assert apart.mean((2, 3, 4)).max() <= MEAN_TOLERANCE
    assert apart.max() <= MOST


def test_pixels_are_normalised_alike(device, images):
    pixels = torch.from_numpy(images)
    torch.testing.assert_close(normalise_pixels(pixels.to(device)).cpu(), normalise_pixels(pixels))
