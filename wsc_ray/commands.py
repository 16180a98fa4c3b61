"""Every command of the command line as a keyword-only function of the same name, for notebooks and scripts.

from wsc_ray import commands

commands.pretrain(recipe="wsc-ray.yaml", out="run")
commands.embed(run="run")
commands.pretrain(recipe="wsc-ray.yaml", out="/shared/run", cluster="cluster/aws.yaml")
commands.pretrain(recipe="wsc-ray.yaml", out="/shared/run", address="http://127.0.0.1:8265")
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

# Loaded when first used: `wsc-ray --help` does not wait for torch, Ray and MLflow.
_HOMES = {
    "bench_data": "wsc_ray.bench.data.run",
    "bench_loss": "wsc_ray.bench.loss.run",
    "bench_scaling": "wsc_ray.bench.scaling.run",
    "demo": "wsc_ray.demo.run",
    "doctor": "wsc_ray.remote.doctor",
    "embed": "wsc_ray.features.embed",
    "evaluate": "wsc_ray.evaluate.run",
    "init": "wsc_ray.recipe.template",
    "job_attach": "wsc_ray.remote.job",
    "job_logs": "wsc_ray.remote.job",
    "job_status": "wsc_ray.remote.job",
    "job_stop": "wsc_ray.remote.job",
    "manifest_check": "wsc_ray.manifest.check",
    "manifest_import": "wsc_ray.manifest.importing",
    "pretrain": "wsc_ray.pretrain.run",
    "tile": "wsc_ray.tiling.run",
    "tune": "wsc_ray.mil.search",
}
_SENT = ("bench_scaling", "embed", "pretrain", "tile", "tune")  # with `address` or `cluster`
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(importlib.import_module(_HOMES[name]), name)
    if name in _SENT:
        from wsc_ray.submit.request import bench_request, make_request, tile_request
        from wsc_ray.submit.send import with_cluster

        makers = {"bench_scaling": bench_request, "tile": tile_request}
        return with_cluster(function, makers.get(name) or partial(make_request, name))
    return function
