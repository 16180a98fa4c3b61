"""The contenders: embedding a lot of patches as an actor of `embed` does, and the model alone on the same pixels.

The model alone gets the pixels decoded, resized and stacked into batches beforehand, so that it does the least that any embedding has to
do. Embedding reads the manifest, decodes, normalises, encodes and writes the slides' files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wsc_ray.encoders import build_encoder, export_encoder, normalise_pixels
from wsc_ray.encoders.choose import choose_encoder
from wsc_ray.encoders.frozen import FrozenEncoder
from wsc_ray.encoders.weights import statistics_for
from wsc_ray.features.embed_lot import Job, embed_lot
from wsc_ray.features.encode import Encoder
from wsc_ray.features.fit import fit
from wsc_ray.features.lots import Lots
from wsc_ray.features.read import Piece, read_lot
from wsc_ray.manifest import open_manifest

EMBED, BARE = "embed", "the model alone"
RETRIES = 0  # nothing fails on a local disk


def random_encoder(backbone: str, size: int, folder: Path) -> FrozenEncoder:
    """Return an encoder with random weights, exported to `folder`; speed does not depend on the weights.

    Args:
        backbone: a name of timm.
        size: side of its input, px.
    """
    torch.manual_seed(0)
    model = build_encoder(backbone, size=size, head_hidden=8, head_dim=8)
    export_encoder(model, folder, name=backbone, size=size, statistics=statistics_for(backbone, "random", None))
    return choose_encoder(folder)


def contenders(
    manifest_uri: Path, encoder: FrozenEncoder, out: Path, *, batch_size: int, threads: int
) -> tuple[int, dict[str, Callable[[], None]]]:
    """Return the number of patches of a manifest, and the contenders, each of which takes all of them once.

    Args:
        out: folder in which files of features are written and removed again.
        batch_size: patches of a forward pass.
        threads: number of threads that decode.
    """
    manifest = open_manifest(str(manifest_uri), labelled=False)
    runs = manifest.runs()
    lots = list(Lots(runs, manifest.row_groups, runs.patches().keys(), workers=1))
    job = Job(manifest, out, {}, {"encoder": encoder.name}, encoder.size, batch_size, RETRIES)
    fitted = partial(fit, size=encoder.size, interpolation=encoder.interpolation)
    encode = Encoder(encoder)

    def embed() -> None:
        for lot in lots:
            embed_lot(job, lot, encode, fitted, threads=threads)
        shutil.rmtree(out)

    pieces = [
        piece
        for lot in lots
        for piece in read_lot(manifest, lot, fitted, threads=threads, ahead=threads, retries=RETRIES)
    ]
    decoded = np.concatenate([piece.pixels for piece in pieces if isinstance(piece, Piece)])
    pixels = torch.from_numpy(decoded).to(encode.device)
    normalised = torch.cat([normalise_pixels(some, encoder.pixels) for some in pixels.split(batch_size)])

    @torch.inference_mode()
    def bare() -> None:
        for some in normalised.split(batch_size):
            with torch.autocast(encode.device.type, torch.bfloat16, enabled=encode.device.type == "cuda"):
                encode.backbone(some).float().cpu()

    return len(pixels), {BARE: bare, EMBED: embed}
