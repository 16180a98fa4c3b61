"""Asking every node of the cluster: one small task each, and a trial all-reduce between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wsc_ray.errors import ResourceError, UserError
from wsc_ray.preflight import storage_probe
from wsc_ray.preflight.all_reduce import try_reduce
from wsc_ray.preflight.facts import Facts, Node, Reduce, Storage
from wsc_ray.preflight.mlflow_store import look_at_store
from wsc_ray.preflight.node_facts import node_facts, now
from wsc_ray.preflight.storage_probe import Probe
from wsc_ray.pretrain.ray_train import check_resources, uses_gpu
from wsc_ray.recipe.sections import Data, Recipe
from wsc_ray.storage import AnyPath
from wsc_ray.stream.source import Source, named_source, open_source
from wsc_ray.tracking import tracking_uri

SECONDS = 120.0  # a node has to answer: its first worker unpacks the job's package and imports torch


def gather(recipe: Recipe, *, out: str | None, folders: Sequence[AnyPath], trains: bool, reduces: bool) -> Facts:
    """Look at every node that is up; needs a Ray session.

    Args:
        out: where results will go.
        folders: that may remember an MLflow store, as in `tracking_uri`.
        trains: whether training workers will run, which need CPUs beside their readers.
        reduces: whether there may be several of them, so that an all-reduce is tried.
    """
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeManagerAddress"])
    trial = storage_probe.begin(out) if out else None
    manifest, problem = _open(recipe.data)
    with ThreadPoolExecutor(1) as pool:  # the gang imports torch while the nodes are asked
        reducing = pool.submit(_reduce, alive, uses_gpu(recipe)) if reduces else None
        nodes, silent = _ask(alive, trial, manifest)
        reduced = reducing.result() if reducing else None
    if trial:
        storage = storage_probe.end(trial, {node_id: node.storage or Storage() for node_id, node in nodes.items()})
        nodes = {node_id: replace(node, storage=storage[node_id]) for node_id, node in nodes.items()}
    if problem:
        nodes = {node_id: replace(node, manifest=problem) for node_id, node in nodes.items()}
    return Facts(
        nodes=tuple(nodes.values()),
        silent=silent,
        out=out,
        manifest=named_source(recipe.data),
        tracking=look_at_store(tracking_uri(recipe.tracking.uri, *folders), recipe.tracking.experiment),
        cpus=_cpus(recipe) if trains else "",
        reduce=reduced,
    )


def _ask(
    alive: Sequence[dict[str, Any]], trial: Probe | None, manifest: Source | None
) -> tuple[dict[str, Node], tuple[str, ...]]:
    """Every node by its id, and the names of those that do not answer."""
    task = ray.remote(num_cpus=0, max_retries=0)(node_facts)
    here = trial if trial and not trial.problem else None
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            node["NodeID"], _gpus(node), here, manifest
        ): node
        for node in alive
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS)
    names = _names(alive)
    nodes, silent = {}, []
    for reference, node in asked.items():
        name = names[node["NodeID"]]
        try:
            if reference not in ready:
                raise ray.exceptions.GetTimeoutError
            said = ray.get(reference)
            ahead = _ahead(node["NodeID"])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1:] or [f"nothing within {SECONDS:.0f} s"]
            silent.append(f"{name} ({reason[0][:200]})")
            continue
        nodes[node["NodeID"]] = Node(
            name=name, cpus=node["Resources"].get("CPU", 0), gpus=_gpus(node), ahead=ahead, **said
        )
    return nodes, tuple(silent)


def _ahead(node_id: str) -> float:
    """The node's clock beyond ours, s, from a second, quick task."""
    clock = ray.remote(num_cpus=0)(now).options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
    sent = time.time()
    there = ray.get(clock.remote(), timeout=SECONDS)
    received = time.time()
    return 0.0 if sent <= there <= received else there - (sent + received) / 2


def _open(data: Data) -> tuple[Source | None, str]:
    try:
        return (open_source(data) if named_source(data) else None), ""
    except UserError as error:
        return None, str(error)


def _cpus(recipe: Recipe) -> str:
    try:
        check_resources(recipe)
    except ResourceError as error:
        return str(error)
    return ""


def _reduce(alive: Sequence[dict[str, Any]], gpu: bool) -> Reduce | None:
    places = [node["NodeID"] for node in alive if not gpu or _gpus(node)]
    if len(places) == 1 and (not gpu or _gpus(alive[0]) > 1):
        places *= 2
    return try_reduce(places, "nccl" if gpu else "gloo") if len(places) > 1 else None


def _gpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))


def _names(alive: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Addresses by node id, with the id's beginning where two nodes share an address."""
    addresses = [node["NodeManagerAddress"] for node in alive]
    return {
        node["NodeID"]: address if addresses.count(address) == 1 else f"{address}/{node['NodeID'][:6]}"
        for node, address in zip(alive, addresses, strict=True)
    }
