"""Backbones, heads and pixels."""

import pytest
import torch

from wsc_ray.encoders import build_encoder, normalise_pixels
from wsc_ray.errors import WeightsError


@pytest.mark.parametrize(
    ("name", "hidden"), [("resnet18", 512), ("resnet50", 4096), ("vit_tiny_patch16_224", 256), ("test_resnet", 96)]
)
def test_the_head_is_the_papers(name, hidden):
    encoder = build_encoder(name, size=64, head_hidden=None, head_dim=128)
    assert encoder.head[0].out_features == hidden
    assert encoder.head[2].out_features == 128


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_projected_features_are_unit_vectors(name):
    encoder = build_encoder(name, size=32, head_hidden=8, head_dim=4)
    z = encoder(torch.randn(6, 3, 32, 32))
    assert z.shape == (6, 4)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6))


def test_unknown_backbones_get_a_suggestion():
    with pytest.raises(WeightsError, match="did you mean"):
        build_encoder("resnet1", size=32, head_hidden=8, head_dim=4)
    with pytest.raises(WeightsError, match="list_models"):
        build_encoder("no such model", size=32, head_hidden=8, head_dim=4)


def test_pixels_are_normalised_as_torchvision_does():
    from torchvision.transforms.v2 import functional as F

    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    theirs = F.normalize(pixels.movedim(-1, 1).float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(normalise_pixels(pixels), theirs, rtol=1e-5, atol=1e-5)


def test_imagenet_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    import timm

    real = timm.create_model

    def offline(name, *, pretrained=False, **arguments):
        if pretrained:
            raise OSError("no route to the hub")
        return real(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"could not be fetched.*encoder.weights"):
        build_encoder("resnet18", size=32, head_hidden=8, head_dim=4, pretrained=True)
