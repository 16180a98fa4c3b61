"""The learning rate and the weight of the similarity half, as pure functions of the step."""

from __future__ import annotations

import math

from wsc_ray.recipe.sections import Loss, Train


def learning_rate(step: int, config: Train, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, which is counted from 0 over the whole run.

    It is linear from `warmup_lr` to `lr` over the warm-up; then `lr` times `gamma` for each milestone (in epochs) that
    has passed, or a cosine that reaches 0 at the end of the run.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / warmup
    if config.schedule == "step":
        return config.lr * config.gamma ** sum(step >= m * steps_per_epoch for m in config.milestones)
    done = (step - warmup) / max(config.epochs * steps_per_epoch - warmup, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def similarity_weight(step: int, config: Loss) -> float:
    """Return the similarity half's weight at a step: linear from 0 over `similarity_warmup` steps, then `similarity_weight`.

    With `progress` it is the whole weight, of which the loop takes a share, see `wsc_ray.pretrain.rise`.
    """
    if isinstance(config.similarity_warmup, str) or step >= config.similarity_warmup:
        return config.similarity_weight
    return config.similarity_weight * step / config.similarity_warmup
