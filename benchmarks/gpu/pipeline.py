"""Part `pipeline`: patches per second from JPEG files in memory to a finished step, ours compared with the published code's setting.

Our pipeline decodes in threads and makes views on the device, in bfloat16; the random numbers of the views are drawn before, as the
package's readers do in processes of their own. The published code decodes with PIL, makes views with torchvision in DataLoader
workers, one per core, and trains in float32. No pipeline is faster than its model, whose time the part `step` measures.
"""

from __future__ import annotations

import io
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.gpu.part import Part, open_part
from benchmarks.gpu.step import Ours, draw_files, step_batch, step_parameters, training_recipe
from wsc_ray.bench.environment import usable_cores
from wsc_ray.encoders import build_encoder
from wsc_ray.losses import WeakSupConLoss
from wsc_ray.pixels import decode

SECONDS = 25.0  # that each of the two is timed for, once what it had read ahead is used up


def main() -> int:
    part = open_part("pipeline")
    batch, size, stored = (8, 32, 48) if part.quick else (512, 224, 256)
    files = draw_files(16 if part.quick else 1024, stored)
    result: dict[str, Any] = {"batch_size": batch, "size": size, "stored": stored, "cores": usable_cores()}
    result |= _ours(part, files, batch, size, stored)
    part.write(result)
    result |= _published(part, files, batch, size)
    result["times_published"] = result["patches_per_second"] / result["published_patches_per_second"]
    part.write(result)
    return 0


def steps_per_second(part: Part, step: Callable[[], None], warm_up: int, fewest: int, seconds: float) -> float:
    """Steps a second after `warm_up` of them: at least `fewest`, on until `seconds` are over."""
    for _ in range(warm_up):
        step()
    part.wait()
    started, done = time.perf_counter(), 0
    while done < fewest or time.perf_counter() - started < seconds:
        step()
        done += 1
    part.wait()
    return done / (time.perf_counter() - started)


def _ours(part: Part, files: list[bytes], batch: int, size: int, stored: int) -> dict[str, Any]:
    """Decoding and drawing in threads beside the device."""
    ours = Ours(part, training_recipe(batch, size))
    tables = [step_parameters(ours.recipe, stored, step) for step in range(8)]
    threads = max(1, usable_cores() - 2)
    ahead = 2 * threads

    def read(step: int) -> dict[str, np.ndarray]:
        chosen = [files[(step * batch + i) % len(files)] for i in range(batch)]
        return step_batch(np.stack([decode(data) for data in chosen]), tables[step % len(tables)])

    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(read, step) for step in range(ahead))
        number = ahead

        def step() -> None:
            nonlocal number
            ours.step(waiting.popleft().result())
            waiting.append(pool.submit(read, number))
            number += 1

        rate = steps_per_second(part, step, ahead + 1, 2, 0.0 if part.quick else SECONDS)
        pool.shutdown(cancel_futures=True)
    return {"patches_per_second": rate * batch, "decoding_threads": threads}


class _PublishedViews(Dataset):
    """Two views of a patch as the published code makes them: PIL and torchvision, in float32."""

    def __init__(self, files: list[bytes], size: int, length: int):
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
        self.files, self.length = files, length
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([jitter], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(self.files[index % len(self.files)])).convert("RGB")
        return torch.stack([self.transform(image), self.transform(image)])


def _published(part: Part, files: list[bytes], batch: int, size: int) -> dict[str, Any]:
    """Float32 and PIL views in as many DataLoader workers as cores, two batches ahead each."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")
    encoder = build_encoder("resnet18", size=size, head_hidden=None, head_dim=128).to(part.device).train()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    objective = WeakSupConLoss(pure=(0,), similarity_weight=0.1)
    labels = (torch.arange(batch) >= batch // 2).long()
    workers = 0 if part.quick else usable_cores()
    data = _PublishedViews(files, size, (8 if part.quick else 2000) * batch)
    loader = DataLoader(data, batch_size=batch, num_workers=workers, pin_memory=part.device.type == "cuda")
    batches: Iterator[torch.Tensor] = iter(loader)

    def step() -> None:
        views = next(batches)
        optimizer.zero_grad(set_to_none=True)
        z = encoder(views.to(part.device, non_blocking=True).flatten(0, 1)).unflatten(0, (-1, 2))
        objective(z, labels).total.backward()
        optimizer.step()

    # What the workers hold at first was read before the clock began, and is not counted.
    rate = steps_per_second(part, step, 2 * workers + 1, max(2, workers), 0.0 if part.quick else SECONDS)
    return {"published_patches_per_second": rate * batch, "published_workers": workers}


if __name__ == "__main__":
    sys.exit(main())
