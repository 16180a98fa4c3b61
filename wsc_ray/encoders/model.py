"""A timm backbone and the projection head that contrastive training needs and features do without."""

from __future__ import annotations

import timm
import torch
from torch import nn
from torch.nn import functional as F

from wsc_ray.errors import WeightsError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The paper's hidden widths (arXiv 2602.09477); for other backbones the hidden layer is as wide as the features.
_HEAD_HIDDEN = {
    "resnet18": 512,
    "resnet50": 4096,
    "vit_tiny_patch16_224": 256,
    "vit_small_patch16_224": 1024,
    "vit_base_patch16_224": 2048,
}


class PatchEncoder(nn.Module):
    """Backbone and two-layer projection head.

    Args:
        backbone: a timm model without classifier, pixels (m, 3, s, s) -> features (m, f).
        hidden: width of the head's hidden layer.
        out: width of the projected features.
    """

    def __init__(self, backbone: nn.Module, hidden: int, out: int):
        super().__init__()
        self.backbone = backbone
        width = backbone.num_features
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels (m, 3, s, s) -> unit vectors (m, out), float32."""
        return F.normalize(self.head(self.backbone(pixels)).float(), dim=1)


def build_encoder(
    name: str, *, size: int, head_hidden: int | None, head_dim: int, pretrained: bool = False
) -> PatchEncoder:
    """Make a backbone by its timm name, with ImageNet weights where asked for, and a new head.

    Raises:
        WeightsError: timm does not know the name, or ImageNet weights cannot be fetched.
    """
    backbone = create_backbone(name, size=size, pretrained=pretrained)
    return PatchEncoder(backbone, head_hidden or _HEAD_HIDDEN.get(name, backbone.num_features), head_dim)


def create_backbone(name: str, *, size: int, pretrained: bool = False) -> nn.Module:
    """A timm model without classifier for patches of `size` px."""
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:3]
        hint = (
            f"did you mean {', '.join(near)}?"
            if near
            else "`python -c 'import timm; print(timm.list_models())'` lists the names"
        )
        raise WeightsError(f"encoder.backbone: timm knows no model {name!r}; {hint}")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **size_arguments(name, size))
    except Exception as error:
        if not pretrained:
            raise
        raise WeightsError(
            f"ImageNet weights for {name} could not be fetched ({type(error).__name__}); set encoder.weights to a folder or "
            f".safetensors file that holds them, or to `random`"
        ) from error


def size_arguments(name: str, size: int) -> dict[str, int]:
    """What a timm model has to be told of the size of its input: a transformer with a fixed grid, not a ResNet."""
    known = timm.get_pretrained_cfg(name)
    return {"img_size": size} if known is not None and known.fixed_input_size else {}


def normalise_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 RGB (..., s, s, 3) -> float32 (..., 3, s, s) with ImageNet's mean and standard deviation taken out.

    On the accelerator where `pixels` is: bytes travel, not floats.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device) * 255
    std = torch.tensor(IMAGENET_STD, device=pixels.device) * 255
    return ((pixels.float() - mean) / std).movedim(-1, -3)
