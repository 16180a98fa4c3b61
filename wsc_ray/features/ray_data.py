"""The Ray Data glue: row groups read and decoded by tasks, encoded by a pool of actors that load the encoder once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import ray
import ray.data
import torch

from wsc_ray.encoders import exported_statistics, load_exported, normalise_pixels
from wsc_ray.errors import ResourceError
from wsc_ray.manifest import Manifest
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.stream.ray_source import Batch, read_calls
from wsc_ray.stream.read import read_patches


class Encode:
    """An actor: the frozen encoder, pixels (n, s, s, 3) uint8 -> features (n, d) float32."""

    def __init__(self, folder: str):
        self.backbone, config = load_exported(as_path(folder))
        self.statistics = exported_statistics(config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone.to(self.device)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Batch:
        pixels = torch.from_numpy(np.ascontiguousarray(batch["pixels"])).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = self.backbone(normalise_pixels(pixels, self.statistics))
        return {"row": batch["row"], "feature": features.float().cpu().numpy()}


def encoded(
    manifest: Manifest,
    groups: Sequence[tuple[int, int, int]],
    *,
    encoder: AnyPath,
    size: int,
    batch_size: int,
    workers: int,
    retries: int,
) -> Iterator[Batch]:
    """Features of whole row groups, in their order.

    Args:
        groups: file, row group and the number of the row group's first row in the manifest.
        retries: how often storage that fails is asked again.

    Yields:
        `row` (n,) int64, the row's number in the manifest, and `feature` (n, d) float32.

    Raises:
        ResourceError: the cluster has no CPU left for reading beside the encoders.
        DataError: an image that cannot be read or decoded.
    """
    have = ray.cluster_resources()
    if have.get("CPU", 0) <= workers:
        raise ResourceError(
            f"embed.workers: {workers} encoders leave none of the cluster's {have.get('CPU', 0):g} CPUs to read patches with; use fewer"
        )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    data = read_calls(partial(_read, manifest, list(groups), size, retries), len(groups)).map_batches(
        Encode,
        fn_constructor_args=(str(encoder),),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if have.get("GPU", 0) else None,
    )
    yield from data.iter_batches(batch_size=None, batch_format="numpy")


def _read(
    manifest: Manifest, groups: list[tuple[int, int, int]], size: int, retries: int, number: int
) -> Iterator[Batch]:
    file, row_group, first = groups[number]
    pixels = read_patches(manifest, file, row_group, size, retries=retries)
    yield {"row": first + np.arange(len(pixels)), "pixels": pixels}
