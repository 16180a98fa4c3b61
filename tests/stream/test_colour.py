"""Matrices of a view's colour: one change against torchvision, several against one after another."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from wsc_ray.stream.colour import colour_matrix, recolours, restains, stain_matrix
from wsc_ray.stream.parameters import View

LUMA = np.array([0.299, 0.587, 0.114])
SAME = View(*[0.0] * len(View._fields))._replace(
    **dict.fromkeys(("brightness", "contrast", "saturation", "scale_h", "scale_e", "scale_d"), 1.0)
)


@pytest.fixture
def image():
    """A smooth picture in tissue's colours, (96, 96, 3) float, so that nothing clips."""
    small = np.random.default_rng(0).integers(90, 170, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC).astype(float)


def recolour(image, view):
    matrix = colour_matrix(view)
    return image @ matrix[:3].T + matrix[3] @ image.mean((0, 1))


def one_after_another(image, view, order):
    for name in order:
        factor = getattr(view, name)
        if name == "brightness":
            image = factor * image
        elif name == "contrast":
            image = factor * image + (1 - factor) * (image @ LUMA).mean()
        elif name == "saturation":
            image = factor * image + (1 - factor) * (image @ LUMA)[..., None]
        else:  # turned about the grey axis, in coordinates along and across it
            basis = np.linalg.svd(np.ones((1, 3)))[2]
            basis *= np.sign(np.linalg.det(basis))
            angle = 2 * np.pi * factor * np.sign(basis[0].sum())
            turn = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
            image = image @ (basis.T @ turn @ basis).T
    return (image @ LUMA)[..., None].repeat(3, axis=-1) if view.grayscale else image


@pytest.mark.parametrize("grayscale", [0.0, 1.0])
@pytest.mark.parametrize("order", itertools.permutations(("brightness", "contrast", "saturation", "hue")))
def test_one_matrix_is_the_changes_one_after_another(image, order, grayscale):
    view = SAME._replace(
        brightness=1.3,
        contrast=0.7,
        saturation=1.4,
        hue=0.08,
        grayscale=grayscale,
        contrast_first=float(order.index("contrast") < order.index("hue")),
        saturation_first=float(order.index("saturation") < order.index("hue")),
    )
    np.testing.assert_allclose(recolour(image, view), one_after_another(image, view, order), atol=1e-9)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_jitters_are_torchvisions(image, name, factor):
    theirs = getattr(F, f"adjust_{name}")(torch.from_numpy(image / 255).movedim(-1, 0), factor).movedim(0, -1).numpy()
    np.testing.assert_allclose(recolour(image, SAME._replace(**{name: factor})) / 255, theirs, atol=1e-3)


def test_grayscale_is_torchvisions(image):
    theirs = F.rgb_to_grayscale(torch.from_numpy(image).movedim(-1, 0), num_output_channels=3).movedim(0, -1).numpy()
    np.testing.assert_allclose(recolour(image, SAME._replace(grayscale=1.0)), theirs, atol=0.05)


def test_a_hue_turn_keeps_grey_and_is_near_torchvisions(image):
    grey = np.full((4, 4, 3), 120.0)
    view = SAME._replace(hue=0.1)
    np.testing.assert_allclose(recolour(grey, view), grey)
    ours = recolour(image, view)
    theirs = F.adjust_hue(torch.from_numpy(image / 255).movedim(-1, 0), 0.1).movedim(0, -1).numpy() * 255
    # Our turn keeps a pixel's mean, HSV's keeps its maximum: compare what both do to the colour apart from that.
    change = [(p - p.mean(-1, keepdims=True)) - (image - image.mean(-1, keepdims=True)) for p in (ours, theirs)]
    assert np.corrcoef(change[0].ravel(), change[1].ravel())[0, 1] > 0.9
    assert 0.8 < np.abs(change[0]).mean() / np.abs(change[1]).mean() < 1.25


def test_the_identity_is_known_as_such():
    np.testing.assert_allclose(colour_matrix(SAME), np.eye(4, 3), atol=1e-15)
    np.testing.assert_allclose(stain_matrix(SAME), np.eye(3, 4), atol=1e-12)
    assert not recolours(SAME)
    assert not restains(SAME)
    for name in ("brightness", "contrast", "saturation", "hue", "grayscale"):
        assert recolours(SAME._replace(**{name: 0.5}))
    for name in ("scale_h", "scale_e", "scale_d", "shift_h", "shift_e", "shift_d"):
        assert restains(SAME._replace(**{name: 0.5}))


def test_a_stain_alone_moves_along_its_own_vector():
    haematoxylin = np.array([0.65, 0.70, 0.29])
    stained = np.append(np.log(10) * -0.8 * haematoxylin, 1)  # density 0.8 of haematoxylin
    scaled = stain_matrix(SAME._replace(scale_h=1.2, scale_e=3.0)) @ stained
    np.testing.assert_allclose(scaled, np.log(10) * -0.96 * haematoxylin)
    shifted = stain_matrix(SAME._replace(shift_h=0.1)) @ stained
    np.testing.assert_allclose(shifted, np.log(10) * -0.9 * haematoxylin)


def test_many_views_are_each_as_alone():
    rng = np.random.default_rng(1)
    table = rng.uniform(0.5, 1.5, (12, len(View._fields)))
    columns = [View._fields.index(name) for name in ("contrast_first", "saturation_first", "grayscale")]
    table[:, columns] = rng.integers(0, 2, (12, 3))
    many = View(*table.T)
    for number, row in enumerate(table.tolist()):
        np.testing.assert_allclose(colour_matrix(many)[..., number], colour_matrix(View(*row)), atol=1e-12)
        np.testing.assert_allclose(stain_matrix(many)[number], stain_matrix(View(*row)), atol=1e-12)
    assert recolours(many).shape == restains(many).shape == (12,)
