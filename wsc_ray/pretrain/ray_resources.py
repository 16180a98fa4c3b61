"""What a cluster has for training: GPUs, and CPUs that are left to read patches. It is asked without torch, which takes seconds to import."""

from __future__ import annotations

import ray

from wsc_ray.errors import ResourceError
from wsc_ray.recipe.sections import Recipe


def uses_gpu(recipe: Recipe) -> bool:
    """Return whether training uses GPUs: the recipe says so, or says `auto` and the cluster has GPUs."""
    if recipe.train.device == "auto":
        return ray.cluster_resources().get("GPU", 0) > 0
    return recipe.train.device == "cuda"


def check_resources(recipe: Recipe) -> None:
    """Check that the cluster has the GPUs and CPUs that training needs, and CPUs left to read patches.

    Without them Ray would wait forever.

    Raises:
        ResourceError: too few GPUs, too few CPUs, or none left to read patches with.
    """
    have = ray.cluster_resources()
    workers, cpus = recipe.train.fewest_workers, have.get("CPU", 0)
    if uses_gpu(recipe) and have.get("GPU", 0) < workers:
        raise ResourceError(
            f"train.workers: {workers} workers need {workers} GPUs and the cluster has {have.get('GPU', 0):g}; set train.workers or train.device"
        )
    taken = workers * recipe.train.cpus_per_worker
    if cpus - taken < 0.1 * workers:
        raise ResourceError(
            f"train.cpus_per_worker: {workers} workers at {recipe.train.cpus_per_worker:g} CPUs leave none of the cluster's {cpus:g} to read "
            f"patches with; set it to {max(cpus / (2 * workers), 0.1):.2g} or less, or use fewer workers"
        )


def cluster_cpus() -> dict[str, float]:
    """Return the number of CPUs of every node that is up, by the node's id."""
    return {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
