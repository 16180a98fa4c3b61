"""The verdicts of the preflight: for each subject a line that is ok, or says what is wrong and how to mend it.

The preflight runs at the start of every job, on the cluster and before the command: only there can the nodes be checked, and
nothing has been written or trained yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wsc_ray.preflight.check_result import CheckResult, fail, ok, warn
from wsc_ray.preflight.facts import Facts, Node, Reduce

SAME = ("python", "ray", "torch", "cuda")  # Ray and NCCL need these to be one version everywhere
SLOW_STORAGE = 20.0  # MB/s; a ResNet-50's checkpoint of 200 MB takes ten seconds there
SLOW_NETWORK = 0.1  # GB/s, about 1 Gbit/s; a ResNet-18's gradient of 45 MB takes half a second there
CLOCKS_APART = 5.0  # s; object stores refuse requests signed at another time, and logs of two nodes do not line up
CLOCKS_WRONG = 300.0


def preflight(facts: Facts) -> list[CheckResult]:
    """Return one result per subject; a subject that the command does not need has none."""
    return [
        _nodes(facts),
        *(_version(name, facts.nodes) for name in SAME),
        _packages(facts.nodes),
        _gpus(facts.nodes),
        *([_storage(facts)] if facts.out else []),
        *([_manifest(facts)] if facts.manifest else []),
        _tracking(facts),
        _cpus(facts),
        *([_reduce(facts.reduce)] if facts.reduce else []),
        _clocks(facts.nodes),
    ]


def _nodes(facts: Facts) -> CheckResult:
    if facts.silent:
        return fail(
            "nodes", f"no answer from {_names(facts.silent)}; see that Ray runs there, or take it out of the cluster"
        )
    return ok("nodes", ", ".join(f"{node.name} ({_has(node)})" for node in facts.nodes))


def _has(node: Node) -> str:
    gpus = f", {node.gpus} GPU{'s' * (node.gpus > 1)}" if node.gpus else ""
    return f"{node.cpus:g} CPU{'s' * (node.cpus != 1)}{gpus}"


def _version(name: str, nodes: Iterable[Node]) -> CheckResult:
    groups = _grouped(nodes, lambda node: node.versions.get(name))
    if len(groups) > 1:
        versions = ", ".join(f"{version or 'none'} on {_names(names)}" for version, names in groups.items())
        return fail(name, f"{versions}; install the same version on every node")
    return ok(name, next(iter(groups), None) or "none")


def _packages(nodes: Iterable[Node]) -> CheckResult:
    lacking = {
        node.name: [name for name, version in node.versions.items() if version is None and name not in SAME]
        for node in nodes
    }
    lacking = {node: names for node, names in lacking.items() if names}
    if lacking:
        missing = "; ".join(f"{node} lacks {', '.join(names)}" for node, names in lacking.items())
        return fail("packages", f"{missing}; install wsc-ray's requirements there: pip install wsc-ray")
    return ok("packages", "all that the commands need")


def _gpus(nodes: Iterable[Node]) -> CheckResult:
    blind = [f"{node.name} ({node.gpus_seen} of {node.gpus})" for node in nodes if node.gpus_seen < node.gpus]
    if blind:
        return fail(
            "gpus",
            f"torch does not see all of Ray's on {', '.join(blind)}; check the driver and torch's CUDA build there",
        )
    count = sum(node.gpus for node in nodes)
    return ok("gpus", f"{count}" if count else "none; the CPUs train")


def _storage(facts: Facts) -> CheckResult:
    probed = [(node.name, node.storage) for node in facts.nodes if node.storage]
    broken = [f"{name}: {storage.problem}" for name, storage in probed if storage.problem]
    if broken:
        return fail("storage", f"{facts.out} cannot be used, {'; '.join(broken)}; mount it there, or make it writable")
    alone = [name for name, storage in probed if not (storage.sees and storage.seen)]
    if alone:
        return fail(
            "storage",
            f"{facts.out} on {_names(alone)} is not the folder that the other nodes see; give --out in a bucket or on storage that every node mounts",
        )
    if not probed:
        return fail("storage", f"{facts.out} was checked by no node")
    write, read = min(storage.write_mb_s for _, storage in probed), min(storage.read_mb_s for _, storage in probed)
    measured = (
        f"{facts.out} on {len(probed)} node{'s' * (len(probed) > 1)}, {write:,.0f} MB/s written, {read:,.0f} MB/s read"
    )
    if min(write, read) < SLOW_STORAGE:
        return warn("storage", f"{measured}; slow, checkpoints will take their time")
    return ok("storage", measured)


def _manifest(facts: Facts) -> CheckResult:
    groups = _grouped((node for node in facts.nodes if node.manifest), lambda node: node.manifest)
    if groups:
        problems = "; ".join(f"{_names(names)}: {problem}" for problem, names in groups.items())
        return fail("manifest", f"{problems}; mount it on every node, or give the nodes leave to read it")
    return ok("manifest", facts.manifest or "")


def _tracking(facts: Facts) -> CheckResult:
    store, problem = facts.tracking
    return fail("mlflow", problem) if problem else ok("mlflow", store)


def _cpus(facts: Facts) -> CheckResult:
    return fail("cpus", facts.cpus) if facts.cpus else ok("cpus", f"{sum(node.cpus for node in facts.nodes):g}")


def _reduce(reduce: Reduce) -> CheckResult:
    who = f"{reduce.backend} over {reduce.members} processes"
    if reduce.problem:
        return fail(
            "all-reduce",
            f"{who}: {reduce.problem}; open the nodes' ports to each other, or name their network interface in "
            f"{'NCCL' if reduce.backend == 'nccl' else 'GLOO'}_SOCKET_IFNAME",
        )
    measured = f"{who}, {reduce.gb_s:.2g} GB/s"
    if reduce.gb_s < SLOW_NETWORK:
        return warn("all-reduce", f"{measured}; slow, several workers will wait for each other's gradients")
    return ok("all-reduce", measured)


def _clocks(nodes: Iterable[Node]) -> CheckResult:
    apart = {node.name: node.ahead for node in nodes if abs(node.ahead) > CLOCKS_APART}
    if not apart:
        return ok("clocks", "together")
    differences = ", ".join(f"{name} {abs(s):.0f} s {'ahead' if s > 0 else 'behind'}" for name, s in apart.items())
    level = fail if max(map(abs, apart.values())) > CLOCKS_WRONG else warn
    return level("clocks", f"{differences}; set the clock there (chrony or systemd-timesyncd)")


def _grouped(nodes: Iterable[Node], key: Callable[[Node], str | None]) -> dict[str | None, list[str]]:
    groups: dict[str | None, list[str]] = {}
    for node in nodes:
        groups.setdefault(key(node), []).append(node.name)
    return groups


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
