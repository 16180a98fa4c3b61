"""A timm backbone with a projection head, which contrastive training needs and feature extraction drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import nn
from torch.nn import functional as F

from wsc_ray.encoders.norm import Norm, batch_norms, freeze_statistics, synchronise
from wsc_ray.errors import WeightsError

# timm is imported in functions: the import takes seconds, and many processes only pass an encoder on (Ray Train's controller), or
# train one of features.


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of R, G and B, in 0 to 1, that an encoder's pixels are normalised with."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def to_json(self) -> dict[str, list[float]]:
        return {"mean": list(self.mean), "std": list(self.std)}


IMAGENET = PixelStatistics()  # statistics of ImageNet's images, for torchvision's weights and for random ones


# The paper's hidden widths (arXiv 2602.09477); for other backbones the hidden layer is as wide as the features.
_HEAD_HIDDEN = {
    "resnet18": 512,
    "resnet50": 4096,
    "vit_tiny_patch16_224": 256,
    "vit_small_patch16_224": 1024,
    "vit_base_patch16_224": 2048,
}


class PatchEncoder(nn.Module):
    """A backbone with a two-layer projection head.

    Args:
        backbone: a timm model without classifier, pixels (m, 3, s, s) -> features (m, f).
        hidden: width of the head's hidden layer.
        out: width of the projected features.
        frozen_norm: whether BatchNorm uses its running statistics, unchanged, in training, too.
    """

    def __init__(self, backbone: nn.Module, hidden: int, out: int, *, frozen_norm: bool = False):
        super().__init__()
        self.backbone = backbone
        self.frozen_norm = frozen_norm
        width = _width(backbone)
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return unit vectors (m, out), in float32 at least, for normalised pixels (m, 3, s, s)."""
        projected = self.head(self.backbone(pixels))
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen_norm:
            freeze_statistics(self)
        return self


def build_encoder(
    name: str, *, size: int, head_hidden: int | None, head_dim: int, norm: Norm = "batch", pretrained: bool = False
) -> PatchEncoder:
    """Return an encoder of the backbone with this timm name, with ImageNet weights if `pretrained`, and a new head.

    Raises:
        WeightsError: timm does not know the name, has no such norm for it, or ImageNet weights cannot be fetched.
    """
    backbone = create_backbone(name, backbone_arguments(name, size=size, norm=norm), pretrained=pretrained)
    if norm == "sync":
        backbone = synchronise(backbone)
    hidden = head_hidden or _HEAD_HIDDEN.get(name.partition(".")[0], _width(backbone))
    return PatchEncoder(backbone, hidden, head_dim, frozen_norm=norm == "frozen")


def _width(backbone: nn.Module) -> int:
    """Return the width of the backbone's features, f."""
    # The attribute is timm's; torch's types expect tensors or modules as attributes.
    return cast(int, backbone.num_features)


def create_backbone(name: str, arguments: dict[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Return a timm model without classifier; `arguments` come from `backbone_arguments`."""
    import timm

    require_name(name)
    try:
        backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except Exception as error:
        if not pretrained:
            raise
        raise WeightsError(
            f"ImageNet weights for {name} could not be fetched ({type(error).__name__}); set encoder.weights to a folder or "
            f".safetensors file that holds them, or to `random`"
        ) from error
    return backbone.to(memory_format=torch.channels_last)  # the format of pixels; convolutions are faster with it


def backbone_arguments(name: str, *, size: int, norm: Norm = "batch") -> dict[str, Any]:
    """Return the arguments that timm needs to make a backbone.

    These are the size of the input, for a transformer with a fixed grid, and the layer for GroupNorm: with 32 groups
    where all widths of the backbone allow this, else with one.
    """
    import timm

    require_name(name)
    pretrained = timm.get_pretrained_cfg(name)
    arguments: dict[str, Any] = {"img_size": size} if pretrained is not None and pretrained.fixed_input_size else {}
    if norm != "group" or not batch_norms(timm.create_model(name, num_classes=0, **arguments)):
        return arguments
    for layer in ("groupnorm", "groupnorm1"):
        try:
            timm.create_model(name, num_classes=0, norm_layer=layer, **arguments)
            return {**arguments, "norm_layer": layer}
        except (AssertionError, RuntimeError, TypeError, ValueError):
            continue
    raise WeightsError(f"encoder.norm: timm's {name} cannot be made with GroupNorm; use sync, batch or frozen")


def require_name(name: str, where: str = "encoder.backbone") -> None:
    """Check that timm knows a model's name and its tag.

    Args:
        where: where the name was written, for messages.

    Raises:
        WeightsError: timm does not know the name or the tag; the error lists similar names, or the tags.
    """
    import timm

    if timm.is_model(name):
        try:
            timm.get_pretrained_cfg(name)
            return
        except RuntimeError:  # the name is right, and the tag behind it is not
            architecture = name.partition(".")[0]
            tags = ", ".join(timm.list_pretrained(f"{architecture}.*")) or architecture
            raise WeightsError(f"{where}: timm knows no weights {name!r}; there are {tags}") from None
    near = timm.list_models(f"*{name}*")[:3]
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else "`python -c 'import timm; print(timm.list_models())'` lists the names"
    )
    raise WeightsError(f"{where}: timm knows no model {name!r}; {hint}")


def statistics_of(name: str) -> PixelStatistics:
    """Return the pixel statistics that a timm model's own weights were trained with, which for many are 0.5."""
    import timm

    require_name(name)
    pretrained = timm.get_pretrained_cfg(name)
    return IMAGENET if pretrained is None else PixelStatistics(tuple(pretrained.mean), tuple(pretrained.std))


def normalise_pixels(pixels: torch.Tensor, statistics: PixelStatistics = IMAGENET) -> torch.Tensor:
    """Return uint8 RGB (..., s, s, 3) as float32 (..., 3, s, s), normalised by mean and standard deviation.

    This runs on the device of `pixels`, so that bytes are sent to it and not floats.
    """
    mean = torch.tensor(statistics.mean, device=pixels.device) * 255
    std = torch.tensor(statistics.std, device=pixels.device) * 255
    return pixels.float().sub_(mean).div_(std).movedim(-1, -3)
