"""The recipes of the demo: an encoder of pixels, and adapters that squeeze its features into two numbers a patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import MLP, Recipe

PIXELS = "pixels"  # the encoder that the adapters start from
METHODS = ("weaksupcon", "simclr", "supcon")
VIEWS = 8  # of each patch, which the adapters are trained on
NUMBERS = 2  # width of an adapter's features: few, so that a method has to choose what it keeps
STEPS = 600  # of an adapter
WEIGHT = 1.0  # of WeakSupCon's similarity half, from half of the steps on


def pixel_recipe(manifest: Path, *, tracking: str | None, seed: int, quick: bool) -> Recipe:
    """Return the recipe of a small encoder that SimCLR trains from random weights, in a minute of two cores.

    Momentum is 0 because with 0.9 training did not leave its plateau for some seeds.
    """
    values = {
        "data": {"manifest": str(manifest)},
        "encoder": {"backbone": "test_resnet", "weights": "random", "head_hidden": 128, "head_dim": 64},
        "loss": {"method": "simclr"},
        "augment": {"size": 32, "scale": [0.4, 1.0], "vflip": 0.5, "grayscale": 0.3},
        "stream": {"sampling": "epoch", "shards": 8, "window": 64},
        "train": {
            "epochs": 1 if quick else 15,
            "steps_per_epoch": 3 if quick else None,
            "batch_size": 64,
            "workers": 2,
            "lr": 0.4,
            "momentum": 0.0,
            "warmup_epochs": 0 if quick else 0.6,
        },
        "embed": {"size": 48},
    }
    return _recipe(values, PIXELS, tracking, seed, quick)


def adapter_recipe(method: str, features: Path, *, tracking: str | None, seed: int, quick: bool) -> Recipe:
    """Return the recipe of an adapter; those of different methods differ in the loss alone.

    SupCon's temperature is higher, since at the others' its features become one point.

    Args:
        features: the features of `PIXELS`, with views.
    """
    steps = 4 if quick else STEPS
    loss: dict[str, Any] = {"method": method}
    if method == "weaksupcon":
        loss |= {"similarity_weight": WEIGHT, "similarity_warmup": steps // 2}
    elif method == "supcon":
        loss["temperature"] = 0.5
    values = {
        "data": {"features": str(features)},
        "encoder": {
            "backbone": MLP,
            "weights": "random",
            "mlp_hidden": [256],
            "mlp_width": NUMBERS,
            "head_hidden": 64,
        },
        "loss": loss,
        "stream": {"sampling": "epoch", "shards": 8, "window": 16},
        "train": {
            "epochs": 1,
            "steps_per_epoch": steps,
            "batch_size": 32 if quick else 256,
            "workers": 1,
            "lr": 0.01,
            "warmup_epochs": 0.1,
        },
    }
    return _recipe(values, method, tracking, seed, quick)


def _recipe(values: dict[str, Any], name: str, tracking: str | None, seed: int, quick: bool) -> Recipe:
    """Return a recipe with the settings that all runs of the demo share."""
    values["seed"] = seed
    values["train"] |= {"cpus_per_worker": 0.5, "schedule": "cosine", "log_every": 10}
    values["tune"] = {"trials": 2, "epochs": 2, "seeds": 1} if quick else {"trials": 6, "epochs": 40, "seeds": 1}
    values["evaluate"] = {"bootstrap": 200 if quick else 1000}
    values["tracking"] = {"uri": tracking, "experiment": "wsc-ray demo"}
    return validate_recipe(values, source=f"demo recipe of {name}")
