"""Part `step`: a training step of ResNet-18, 512 patches at 224 px, beside the bare model and beside the published pipeline.

Ours is the product's own `Loop`: uint8 patches on the host go up, both views are made on the device, and forward, loss,
backward and optimizer follow. The bare model is the same encoder with a trivial loss on pixels that lie on the device
ready. The published code decodes with PIL, makes views with torchvision in DataLoader workers, and trains in float32.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.gpu.part import Part, open_part
from wsc_ray.bench.environment import usable_cores
from wsc_ray.encoders import build_encoder, normalise_pixels
from wsc_ray.losses import WeakSupConLoss
from wsc_ray.pixels import decode
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import Geometry
from wsc_ray.stream.parameters import view_draws, view_parameters


def main() -> int:
    part = open_part("step")
    batch, size, stored, steps = (8, 32, 48, 2) if part.quick else (512, 224, 256, 20)
    recipe = _recipe(batch, size, steps)
    files = draw_files(part, 16 if part.quick else 1024, stored)
    result: dict[str, Any] = {"backbone": "resnet18", "batch_size": batch, "size": size, "stored": stored}
    bare = _bare(part, recipe, batch, size)
    result["bare_seconds"] = part.seconds(bare, rounds=20)
    part.write(result)
    images = np.stack([decode(files[i % len(files)]) for i in range(batch)])
    ours = Ours(part, recipe)
    fed = step_batch(recipe, images, 0)
    result["step_seconds"] = part.seconds(lambda: ours.step(fed), rounds=20)
    result["views_seconds"] = part.seconds(lambda: ours.loop._views(fed), rounds=20)
    result["bare_seconds_again"] = part.seconds(bare, rounds=20)
    result["bare_share"] = (
        statistics.mean([result["bare_seconds"], result["bare_seconds_again"]]) / result["step_seconds"]
    )
    part.write(result)
    result |= _end_to_end(part, ours, files, batch, 2 if part.quick else 60)
    part.write(result)
    result |= _published(part, files, batch, size)
    result["times_published"] = result["patches_per_second"] / result["published_patches_per_second"]
    part.write(result)
    if part.device.type == "cuda":
        result["profile"] = _profile(lambda: ours.step(fed))
        part.write(result)
    return 0


def _recipe(batch: int, size: int, steps: int) -> Any:
    return validate_recipe(
        {
            "encoder": {"backbone": "resnet18", "weights": "random"},
            "loss": {"similarity_weight": 0.1, "similarity_warmup": 200},
            "augment": {"size": size},
            "stream": {"augment_on": "device", "shards": 1},
            "train": {"batch_size": batch, "epochs": 1, "steps_per_epoch": 1000, "warmup_epochs": 0, "lr": 0.05},
        }
    )


class Ours:
    """The product's loop on one device, fed by hand."""

    def __init__(self, part: Part, recipe: Any):
        torch.manual_seed(0)
        train = recipe.train
        encoder = build_encoder(recipe.encoder.backbone, size=recipe.augment.size, head_hidden=None, head_dim=128)
        self.recipe, self.encoder, self.number = recipe, encoder.to(part.device), 0
        self.loop = Loop(
            model=self.encoder,
            optimizer=make_optimizer(self.encoder, recipe),
            objective=make_objective(recipe.loss, pure=1),
            recipe=recipe,
            geometry=Geometry(0, "replacement", train.batch_size, 1, train.steps_per_epoch, 1),
            device=part.device,
            precision="bf16" if part.device.type == "cuda" else "fp32",
            on_log=lambda *_: None,
            on_checkpoint=lambda *_: None,
        )
        self.encoder.train()

    def step(self, batch: dict[str, np.ndarray]) -> None:
        self.loop._step(self.number % self.recipe.train.steps_per_epoch, batch, False)
        self.number += 1


def step_batch(recipe: Any, images: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """What the stream gives for a step with `augment_on: device`: patches (n, h, w, 3) uint8 and parameters."""
    count = len(images)
    draws = view_draws(count, 0, step)
    rows = [view_parameters(recipe.augment, *images.shape[1:3], row.tolist()) for row in draws]
    labels = (np.arange(count) >= count // 2).astype(np.int64)
    return {"images": images, "parameters": np.stack(rows), "label": labels}


def _bare(part: Part, recipe: Any, batch: int, size: int) -> Any:
    """Forward, a trivial loss, backward and optimizer of the same encoder on pixels that are ready on the device."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", size=size, head_hidden=None, head_dim=128).to(part.device).train()
    optimizer = make_optimizer(encoder, recipe)
    bytes_ = torch.randint(0, 256, (2 * batch, size, size, 3), dtype=torch.uint8, device=part.device)
    pixels = normalise_pixels(bytes_).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=part.device.type == "cuda"):
            features = encoder(pixels)
        features[:, 0].sum().backward()
        optimizer.step()

    return step


def _end_to_end(part: Part, ours: Ours, files: list[bytes], batch: int, steps: int) -> dict[str, Any]:
    """Patches a second from JPEG files in memory to a step done: decoding in threads beside the device."""
    threads = max(1, usable_cores() - 2)

    def read(step: int) -> dict[str, np.ndarray]:
        chosen = [files[(step * batch + i) % len(files)] for i in range(batch)]
        return step_batch(ours.recipe, np.stack([decode(data) for data in chosen]), step)

    warm_up, ahead = 4, 2 * threads
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(read, step) for step in range(min(ahead, warm_up + steps)))
        started = 0.0
        for step in range(warm_up + steps):
            if step == warm_up:
                part.wait()
                started = time.perf_counter()
            ours.step(waiting.popleft().result())
            if step + ahead < warm_up + steps:
                waiting.append(pool.submit(read, step + ahead))
        part.wait()
        seconds = time.perf_counter() - started
    return {"patches_per_second": steps * batch / seconds, "decoding_threads": threads}


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
    """Patches a second of the published setting: float32 model, PIL views in as many DataLoader workers as cores."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")
    encoder = build_encoder("resnet18", size=size, head_hidden=None, head_dim=128).to(part.device).train()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    objective = WeakSupConLoss(pure=(0,), similarity_weight=0.1)
    labels = (torch.arange(batch) >= batch // 2).long().to(part.device)
    workers = 0 if part.quick else usable_cores()
    warm_up, steps = 2 * workers + 1, max(2, 3 * workers)  # workers read ahead: what they hold at first is not counted
    data = _PublishedViews(files, size, (steps + warm_up) * batch)
    loader = DataLoader(data, batch_size=batch, num_workers=workers, pin_memory=part.device.type == "cuda")
    started, done = 0.0, 0
    for number, views in enumerate(loader):
        if number == warm_up:
            part.wait()
            started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        z = encoder(views.to(part.device, non_blocking=True).flatten(0, 1)).unflatten(0, (-1, 2))
        objective(z, labels).total.backward()
        optimizer.step()
        done += number >= warm_up
    part.wait()
    seconds = time.perf_counter() - started
    return {"published_patches_per_second": done * batch / seconds, "published_workers": workers}


def draw_files(part: Part, count: int, side: int) -> list[bytes]:
    """JPEG files of drawn tissue-like noise: smooth colours with texture, quality 90."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = rng.integers(90, 230, (side // 16, side // 16, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
        image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
        target = io.BytesIO()
        Image.fromarray(image).save(target, "JPEG", quality=90)
        files.append(target.getvalue())
    return files


def _profile(step: Any) -> list[dict[str, Any]]:
    """The kernels that take longest in three steps: name, milliseconds a step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(3):
            step()
        torch.cuda.synchronize()
    rows = sorted(recorded.key_averages(), key=lambda row: row.self_device_time_total, reverse=True)[:24]
    return [{"kernel": row.key[:90], "ms": round(row.self_device_time_total / 3000, 3)} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
