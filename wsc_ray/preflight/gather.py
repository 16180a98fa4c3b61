"""Gathering the facts about a cluster: a small task on every node, and a trial all-reduce between the nodes."""

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
from wsc_ray.preflight.inputs import Input, Opened, open_input
from wsc_ray.preflight.mlflow_store import look_at_store
from wsc_ray.preflight.node_facts import node_facts, now
from wsc_ray.preflight.storage_probe import Probe
from wsc_ray.pretrain.ray_resources import check_resources, uses_gpu
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath
from wsc_ray.tracking_store import tracking_uri

SECONDS = 120.0  # s for a node to answer: its first worker unpacks the job's package and imports torch


def gather(
    recipe: Recipe, read: Input | None, *, out: str | None, folders: Sequence[AnyPath], trains: bool, reduces: bool
) -> Facts:
    """Return the facts about every node that is up; needs a Ray session.

    Args:
        read: the manifest or the features that every node must read; None: the command reads neither.
        out: the folder of the results.
        folders: folders that may name an MLflow store, as in `tracking_uri`.
        trains: whether training workers will run, so that the CPUs have to suffice for them and their readers.
        reduces: whether there may be several workers, so that an all-reduce is tried.
    """
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeManagerAddress"])
    trial = storage_probe.begin(out) if out else None
    manifest, problem = _open(read, recipe) if read else (None, "")
    with ThreadPoolExecutor(1) as pool:  # in parallel, since both import torch
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
        manifest=read.place if read else None,
        tracking=look_at_store(tracking_uri(recipe.tracking.uri, *folders), recipe.tracking.experiment),
        cpus=_cpus(recipe) if trains else "",
        reduce=reduced,
    )


def _ask(
    alive: Sequence[dict[str, Any]], trial: Probe | None, manifest: Opened | None
) -> tuple[dict[str, Node], tuple[str, ...]]:
    """Return the nodes by their ids, and the names of nodes that do not answer, with the reason."""
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
            facts = ray.get(reference)
            ahead = _ahead(node["NodeID"])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1:] or [f"nothing within {SECONDS:.0f} s"]
            silent.append(f"{name} ({reason[0][:200]})")
            continue
        nodes[node["NodeID"]] = Node(
            name=name, cpus=node["Resources"].get("CPU", 0), gpus=_gpus(node), ahead=ahead, **facts
        )
    return nodes, tuple(silent)


def _ahead(node_id: str) -> float:
    """Return the seconds by which a node's clock is ahead of this one's, from a second, quick task."""
    clock = ray.remote(num_cpus=0)(now).options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
    sent = time.time()
    remote = ray.get(clock.remote(), timeout=SECONDS)
    received = time.time()
    return 0.0 if sent <= remote <= received else remote - (sent + received) / 2


def _open(read: Input, recipe: Recipe) -> tuple[Opened | None, str]:
    try:
        return open_input(read, recipe), ""
    except UserError as error:
        return None, str(error)


def _cpus(recipe: Recipe) -> str:
    try:
        check_resources(recipe)
    except ResourceError as error:
        return str(error)
    return ""


def _reduce(alive: Sequence[dict[str, Any]], gpu: bool) -> Reduce | None:
    node_ids = [node["NodeID"] for node in alive if not gpu or _gpus(node)]
    if len(node_ids) == 1 and (not gpu or _gpus(alive[0]) > 1):
        node_ids *= 2
    return try_reduce(node_ids, "nccl" if gpu else "gloo") if len(node_ids) > 1 else None


def _gpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))


def _names(alive: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the nodes' addresses by their ids; nodes that share an address get the beginning of their ids too."""
    addresses = [node["NodeManagerAddress"] for node in alive]
    return {
        node["NodeID"]: address if addresses.count(address) == 1 else f"{address}/{node['NodeID'][:6]}"
        for node, address in zip(alive, addresses, strict=True)
    }
