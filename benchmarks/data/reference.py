"""The pipeline of the published code: PIL decodes, torchvision makes two views, a torch DataLoader collates them.

WeakSupCon's public code (arXiv 2602.09477) builds on SupContrast's, whose transforms these are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torchvision import transforms

from wsc_ray.recipe.sections import Augment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def reference_transform(augment: Augment) -> transforms.Compose:
    """A view of a PIL image as a normalised (3, size, size) float32 tensor."""
    jitter = transforms.ColorJitter(augment.brightness, augment.contrast, augment.saturation, augment.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(augment.size, scale=augment.scale, ratio=augment.ratio),
            transforms.RandomHorizontalFlip(augment.hflip),
            transforms.RandomApply([jitter], augment.jitter),
            transforms.RandomGrayscale(augment.grayscale),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class TwoViews(torch.utils.data.Dataset):
    """Two views of each of some encoded images."""

    def __init__(self, images: Sequence[bytes], augment: Augment):
        self.images, self.transform = images, reference_transform(augment)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(io.BytesIO(self.images[index])) as opened:
            image = opened.convert("RGB")
        return self.transform(image), self.transform(image)
