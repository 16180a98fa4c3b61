"""The training loop, without Ray: it takes batches, trains a step on each, and calls hooks that log and checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from wsc_ray.distributed import all_gather_rows, rank_and_world_size, share_counts
from wsc_ray.encoders import IMAGENET, PixelStatistics, normalise_pixels
from wsc_ray.losses import WeakSupConTerms
from wsc_ray.losses.method import Method
from wsc_ray.pretrain.clock import Clock
from wsc_ray.pretrain.collapse import SAMPLE, feature_health, has_collapsed
from wsc_ray.pretrain.gradient_cache import cached_backward
from wsc_ray.pretrain.rise import next_share
from wsc_ray.pretrain.schedule import learning_rate, similarity_weight
from wsc_ray.recipe.sections import PROGRESS, Recipe
from wsc_ray.stream.device import augment_on_device
from wsc_ray.stream.order import Geometry, worker_patches

Metrics = dict[str, float]


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return SGD as in the paper; the loop sets the learning rate at every step."""
    train = recipe.train
    return torch.optim.SGD(model.parameters(), lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay)


@dataclass
class Loop:
    """One worker's training loop.

    Args:
        model: normalised pixels (m, 3, s, s), or features (m, D), -> unit vectors (m, d); in DDP where there are several
            workers.
        precision: precision of the forward pass, `fp32` or `bf16`.
        on_log: called with (steps done, metrics) every `log_every` steps and at the end.
        on_checkpoint: called with (steps done, metrics) every `checkpoint_every` steps and at the end.
        bad_patches: called before both; returns the number of bad patches so far, and whether they are too many to go
            on. It must return the same on all workers.
        clock: measures the phases of each step.
        statistics: mean and standard deviation that pixels are normalised with; None for features, which go to the model
            as they are.
        share: share of its weight that the similarity half has in the first step, if that weight follows the contrastive
            half (`next_share`); when `on_checkpoint` is called, its share in the step after that.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Method
    recipe: Recipe
    geometry: Geometry
    device: torch.device
    precision: str
    on_log: Callable[[int, Metrics], None]
    on_checkpoint: Callable[[int, Metrics], None]
    bad_patches: Callable[[], tuple[int, bool]] = lambda: (0, False)
    clock: Clock = field(default_factory=Clock)
    statistics: PixelStatistics | None = IMAGENET
    share: float = 0.0
    _share: torch.Tensor = field(init=False, repr=False)  # on the device, which need not be waited for
    _uploads: torch.cuda.Stream | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._share = torch.tensor(self.share, dtype=torch.float64, device=self.device)

    def run(self, batches: Iterable[Mapping[str, np.ndarray]], first_step: int) -> int:
        """Train on every batch and return the number of steps done over the whole run.

        With `loss.on_collapse: stop` training ends early, with a checkpoint, at the first log that shows a collapse. With
        too many bad patches it ends without a checkpoint, so that a mended run resumes where they were few.
        """
        config = self.recipe.train
        total = config.epochs * self.geometry.steps
        every = config.checkpoint_every or self.geometry.steps
        self.model.train()
        source, step, stop = iter(batches), first_step, False
        since, waited, patches = time.perf_counter(), 0.0, 0
        while step < total and not stop:
            asked = time.perf_counter()
            with self.clock.phase("wait"):
                batch = next(source)
            waited += time.perf_counter() - asked
            assert int(batch["step"][0]) == int(batch["step"][-1]) == step, "the stream is out of step"
            logs = (step + 1) % config.log_every == 0 or step + 1 == total
            metrics = self._step(step, batch, logs)
            self.clock.step_ended(step, len(batch["step"]))
            step, patches = step + 1, patches + 2 * self.geometry.size(step % self.geometry.steps)
            saves = step % every == 0 or step == total
            bad, too_many = self.bad_patches() if logs or saves else (0, False)
            if logs:
                values = {key: float(value) for key, value in metrics.items()}  # waits for the device
                seconds = time.perf_counter() - since
                values["patches_per_second"] = patches / seconds
                values["data_wait_fraction"] = waited / seconds
                values["workers"] = float(rank_and_world_size()[1])  # may change during an elastic run
                values["bad_patches"] = float(bad)
                self.on_log(step, values)
                stop = bool(values.get("collapsed")) and self.recipe.loss.on_collapse == "stop"
                since, waited, patches = time.perf_counter(), 0.0, 0
            if too_many:
                break
            if saves or stop:
                self.share = float(self._share)
                self.on_checkpoint(step, {key: float(value) for key, value in metrics.items()})
        return step

    def _step(self, step: int, batch: Mapping[str, np.ndarray], logs: bool) -> dict[str, torch.Tensor | float]:
        """Take a step and return its metrics; those of `feature_health` only where `logs`."""
        lr = learning_rate(step, self.recipe.train, self.geometry.steps)
        follows = self.recipe.loss.similarity_warmup == PROGRESS
        weight = similarity_weight(step, self.recipe.loss) * (self._share if follows else 1)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self.clock.phase("encode"):
            pixels = self._views(batch)  # (n, 2, s, s, 3) or (n, 2, D)
            labels = torch.from_numpy(np.array(batch["label"]))  # on the host, where the loss counts them
            self.optimizer.zero_grad(set_to_none=True)
            terms, views = self._backward(pixels, labels, weight, self._micro_batches(step))
            self.clock.backward_ended()
        with self.clock.phase("optimizer"):
            self.optimizer.step()
        if follows:
            patches = self.geometry.size(step % self.geometry.steps)
            self._share = next_share(self._share, terms.contrastive.detach(), patches, self.recipe.loss)
        return {
            "loss": terms.total.detach(),
            "similarity": terms.similarity.detach(),
            "contrastive": terms.contrastive.detach(),
            "lr": lr,
            "similarity_weight": weight,
            **(self._health(views, labels) if logs else {}),
        }

    def _views(self, batch: Mapping[str, np.ndarray]) -> torch.Tensor:
        """Return both views of every patch, (n, 2, s, s, 3) uint8 or (n, 2, D), as the batch holds them or made here."""
        name = "views" if "views" in batch else "images"
        pixels = self._upload(torch.from_numpy(np.ascontiguousarray(batch[name])))
        if name == "views":
            return pixels
        return augment_on_device(pixels, torch.from_numpy(np.array(batch["parameters"])), self.recipe.augment.size)

    def _upload(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels on the device. A GPU receives them while it still computes the step before."""
        if self.device.type != "cuda":
            return pixels.to(self.device)
        if self._uploads is None:
            self._uploads = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._uploads):
            uploaded = pixels.pin_memory().to(self.device, non_blocking=True)
        torch.cuda.current_stream(self.device).wait_stream(self._uploads)
        uploaded.record_stream(torch.cuda.current_stream(self.device))
        return uploaded

    def _backward(
        self, pixels: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | float, micro_batches: int
    ) -> tuple[WeakSupConTerms, torch.Tensor]:
        """Add the loss's gradient to the parameters, and return the loss's terms and the views' features (n, 2, d)."""

        def loss(views: torch.Tensor) -> tuple[torch.Tensor, tuple[WeakSupConTerms, torch.Tensor]]:
            """Return the gradient of the views' features, and the result of `_backward`."""
            with self.clock.phase("loss"):
                leaf = views.detach().requires_grad_()
                terms = self.objective(leaf, labels, weight)
                terms.total.backward()
                assert leaf.grad is not None
                return leaf.grad, (terms, leaf.detach())

        if micro_batches > 1:
            return cached_backward(self.model, self._encode, pixels, micro_batches, loss)
        views = self._encode(pixels)
        gradient, result = loss(views)
        views.backward(gradient)
        return result

    def _micro_batches(self, step: int) -> int:
        """Return the number of micro-batches of a step, the same on every worker though numbers of patches may differ."""
        if self.recipe.train.micro_batch is None:
            return 1
        patches = worker_patches(self.geometry, step % self.geometry.steps, rank_and_world_size()[1])
        return min(-(-max(patches) // self.recipe.train.micro_batch), min(patches))

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features (n, 2, d) of views (n, 2, s, s, 3) uint8 or (n, 2, D), encoded in one pass.

        One pass lets BatchNorm see both classes.
        """
        views = pixels.flatten(0, 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            z = self.model(views.float() if self.statistics is None else normalise_pixels(views, self.statistics))
        return z.unflatten(0, (-1, 2))

    def _health(self, views: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Return the health of the features of contrasted patches.

        They are gathered from all workers, so that every worker comes to the same result.
        """
        own = views[self.objective.contrasted(labels)]
        own = own[: -(-SAMPLE // rank_and_world_size()[1])]
        (shards,) = share_counts(torch.tensor([len(own)], device=self.device))
        health = feature_health(all_gather_rows(own, shards))
        return {**health, "collapsed": float(has_collapsed(health))}
