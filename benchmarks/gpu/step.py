"""Part `step`: a training step of ResNet-18, 512 patches at 224 px, compared with the bare model.

Our step is the package's own `Loop`: uint8 patches are copied from the host, both views are made on the device, and forward, loss,
backward and optimizer follow. The bare model is the same encoder with a trivial loss, on pixels that are on the device
already. Both are timed over many consecutive steps, as in training: the timer waits for the device only before the first and after
the last step, so that a step's upload may overlap with the step before. Further measurements time the parts of our step.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.part import Part, open_part
from benchmarks.timing import quartiles, ratio, time_rounds
from wsc_ray.encoders import build_encoder, normalise_pixels
from wsc_ray.pixels import decode
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.device import augment_on_device
from wsc_ray.stream.order import Geometry
from wsc_ray.stream.parameters import view_draws, view_parameters


def main() -> int:
    part = open_part("step")
    batch, size, stored, count, rounds = (8, 32, 48, 2, 2) if part.quick else (512, 224, 256, 10, 6)
    recipe = training_recipe(batch, size)
    files = draw_files(16 if part.quick else 256, stored)
    result: dict[str, Any] = {"backbone": "resnet18", "batch_size": batch, "size": size, "stored": stored}
    ours = Ours(part, recipe)
    images = np.stack([decode(files[i % len(files)]) for i in range(batch)])
    fed = step_batch(images, step_parameters(recipe, stored, 0))
    result |= _in_a_row(part, _bare(part, recipe, batch, size), lambda: ours.step(fed), count, rounds)
    part.write(result)
    result |= _taken_apart(part, ours, fed, size)
    part.write(result)
    if part.device.type == "cuda":
        result["waits"] = _waits(lambda: ours.step(fed))
        part.write(result)
        result["profile"] = _profile(lambda: ours.step(fed))
        part.write(result)
    return 0


def training_recipe(batch: int, size: int) -> Any:
    """The setting that is measured: views made on the device, the paper's augmentation, ResNet-18 from random weights."""
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


def step_parameters(recipe: Any, stored: int, step: int) -> np.ndarray:
    """What the stream draws for the views of a step, (n, 2, P), of patches of `stored` px."""
    draws = view_draws(recipe.train.batch_size, 0, step)
    return np.stack([view_parameters(recipe.augment, stored, stored, row.tolist()) for row in draws])


def step_batch(images: np.ndarray, parameters: np.ndarray) -> dict[str, np.ndarray]:
    """What the stream gives for a step with `augment_on: device`: patches (n, h, w, 3) uint8, parameters, and labels."""
    labels = (np.arange(len(images)) >= len(images) // 2).astype(np.int64)
    return {"images": images, "parameters": parameters, "label": labels}


def _bare(part: Part, recipe: Any, batch: int, size: int) -> Callable[[], None]:
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


def _in_a_row(
    part: Part, bare: Callable[[], None], step: Callable[[], None], count: int, rounds: int
) -> dict[str, Any]:
    """Seconds a step of both, `count` steps at a time in turn, and the bare model's share of ours, within each round."""

    def many(call: Callable[[], None]) -> Callable[[], None]:
        def calls() -> None:
            for _ in range(count):
                call()
            part.wait()

        return calls

    contenders = {"bare": many(bare), "step": many(step)}
    for contender in contenders.values():
        contender()
    samples = time_rounds(contenders, rounds, dict.fromkeys(contenders, 1), part.wait)
    share = ratio(samples["bare"], samples["step"])
    return {
        "steps_in_a_row": count,
        **{f"{name}_seconds": quartiles(times)["median"] / count for name, times in samples.items()},
        "bare_share": share["median"],
        "bare_share_quartiles": [share["q1"], share["q3"]],
    }


def _taken_apart(part: Part, ours: Ours, fed: dict[str, np.ndarray], size: int) -> dict[str, Any]:
    """Seconds of a step that is waited for, and of its pieces, each alone: in a row they overlap in part."""
    patches, parameters = torch.from_numpy(fed["images"]), torch.from_numpy(fed["parameters"])
    pixels = patches.to(part.device)
    labels = torch.from_numpy(fed["label"])
    features = torch.nn.functional.normalize(torch.randn(len(labels), 2, 128, device=part.device), dim=-1)

    def loss() -> None:
        ours.loop.objective(features.detach().requires_grad_(), labels, 0.1).total.backward()

    return {
        "step_alone_seconds": part.seconds(lambda: ours.step(fed)),
        "upload_seconds": part.seconds(lambda: ours.loop._upload(patches)),
        "views_seconds": part.seconds(lambda: augment_on_device(pixels, parameters, size)),
        "loss_seconds": part.seconds(loss),
    }


def _waits(step: Callable[[], None]) -> list[str]:
    """The lines at which a step waits for the device, as torch warns of them; of the backward pass it may not see all."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [each for each in caught if "synchroniz" in str(each.message)]
    return [f"{Path(each.filename).name}:{each.lineno}" for each in found]


def draw_files(count: int, side: int) -> list[bytes]:
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


def _profile(step: Callable[[], None]) -> list[dict[str, Any]]:
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
