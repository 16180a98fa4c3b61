"""Part `decode`: JPEG patches decoded on the device by `torchvision.io.decode_jpeg`, compared with simplejpeg on one core and on all;
and views made on the device, compared with OpenCV on one core."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torchvision.io import decode_jpeg

from benchmarks.gpu.part import Part, open_part
from benchmarks.gpu.step import draw_files
from wsc_ray.bench.environment import usable_cores
from wsc_ray.pixels import decode
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.device import augment_on_device
from wsc_ray.stream.parameters import view_draws, view_parameters

RECIPES = {"the paper's": {}, "all": {"vflip": 0.5, "rotate90": True, "blur": 0.5, "hed": 0.05}}


def main() -> int:
    part = open_part("decode")
    rows: list[dict[str, Any]] = []
    for side in (32, 48) if part.quick else (96, 224, 256):
        count = 8 if part.quick else 512
        files = draw_files(min(count, 64), side)
        files = [files[i % len(files)] for i in range(count)]
        row = {"side": side, "patches": count, "cores": usable_cores()}
        row["core_seconds"] = part.seconds(lambda f=files: [decode(data) for data in f], rounds=3)
        with ThreadPoolExecutor(usable_cores()) as pool:
            row["cores_seconds"] = part.seconds(lambda f=files, p=pool: list(p.map(decode, f, chunksize=16)), rounds=5)
        row |= _on_device(part, files)
        images = np.stack([decode(data) for data in files])
        for name, settings in RECIPES.items():
            row |= {
                f"{key} ({name})": value for key, value in _views(part, images, Augment(size=side, **settings)).items()
            }
        rows.append(row)
        part.write({"rows": rows})
    return 0


def _on_device(part: Part, files: list[bytes]) -> dict[str, Any]:
    """nvJPEG by torchvision; how far its pixels are from turbo JPEG's."""
    if part.device.type != "cuda":
        return {}
    data = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in files]
    try:
        found = decode_jpeg(data[:8], device="cuda")
    except RuntimeError as error:
        return {"device_error": str(error).splitlines()[0][:200]}
    apart = [
        (image.movedim(0, -1).cpu().int() - torch.from_numpy(decode(one)).int()).abs().float().mean()
        for image, one in zip(found, files, strict=False)
    ]
    return {
        "device_seconds": part.seconds(lambda: decode_jpeg(data, device="cuda"), rounds=5),
        "device_mean_apart": float(torch.stack(apart).mean()),
    }


def _views(part: Part, images: np.ndarray, config: Augment) -> dict[str, Any]:
    """Seconds of both views of all patches, on the device (pixels there already) and on one core."""
    draws = view_draws(len(images), 0, 0)
    table = np.stack([view_parameters(config, *images.shape[1:3], row.tolist()) for row in draws])
    pixels, parameters = torch.from_numpy(images).to(part.device), torch.from_numpy(table)

    few = min(64, len(images))

    def on_core() -> None:
        for image, rows in zip(images[:few], table[:few], strict=True):
            for row in rows:
                apply_view(image, row, config.size)

    return {
        "device views seconds": part.seconds(lambda: augment_on_device(pixels, parameters, config.size), rounds=5),
        "core views seconds": part.seconds(on_core, rounds=3) * len(images) / few,
    }


if __name__ == "__main__":
    sys.exit(main())
