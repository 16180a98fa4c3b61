"""A frozen encoder on this process's device: pixels in, features out."""

from __future__ import annotations

import numpy as np
import torch

from wsc_ray.encoders import normalise_pixels
from wsc_ray.encoders.frozen import FrozenEncoder
from wsc_ray.errors import ResourceError


class Encoder:
    """Pixels (n, s, s, 3) uint8 -> features (n, d) float32; on a GPU it computes in bfloat16."""

    def __init__(self, encoder: FrozenEncoder):
        self.statistics = encoder.pixels
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone = encoder.load().to(self.device)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features of a batch.

        Raises:
            ResourceError: the batch does not fit into the GPU's memory.
        """
        try:
            on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                features = self.backbone(normalise_pixels(on_device, self.statistics))
            return features.float().cpu().numpy()
        except torch.OutOfMemoryError:
            raise ResourceError(
                f"embed.batch_size: {len(pixels)} patches of {pixels.shape[1]} px do not fit into the GPU's memory; use fewer"
            ) from None
