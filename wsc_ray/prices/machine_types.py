"""The machines that a file of Ray's launcher starts, their numbers, and the price of each per hour."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wsc_ray.provision.cluster_file import ClusterFile

LIST = Path(__file__).with_name("list.csv")
CLOUDS = ("aws", "gcp")  # providers whose prices the list holds


@dataclass(frozen=True)
class Price:
    """The on-demand price of one machine under Linux, in dollars per hour, without disks, traffic and tax.

    Attributes:
        date: when the provider had this price, as far as it is known: a year, a month or a day. Most of the list is copied from
            other people's lists, and nobody has compared it with the provider's page.
        source: the provider's page with today's price.
    """

    dollars: float
    date: str
    source: str


@dataclass(frozen=True)
class MachineType:
    """The machines of one type in a cluster.

    Attributes:
        machine: the provider's name of the type, with its accelerators.
        least, most: the smallest and the largest number of such machines.
        spot: whether the provider may reclaim the machines; they then cost less than the on-demand price.
        price: the price of one machine; None if it is not in the list.
    """

    machine: str
    least: int
    most: int
    spot: bool
    price: Price | None


def cost_money(file: ClusterFile) -> bool:
    """Return whether the file's machines are paid for: those that Ray's launcher starts in a cloud."""
    return file.kind == "launcher" and file.provider != "local"


def machines_of(file: ClusterFile) -> list[MachineType]:
    """Return the machines that a file of Ray's launcher starts in a cloud, the head first."""
    config = file.config
    region = region_of(config["provider"])
    head, limit = config.get("head_node_type"), config.get("max_workers")
    types = config.get("available_node_types") or {}
    machine_types = []
    for name, node_type in sorted(types.items(), key=lambda item: item[0] != head):
        node = node_type.get("node_config") or {}
        least = 1 if name == head else int(node_type.get("min_workers", 0))
        most = 1 if name == head else int(node_type.get("max_workers", least if limit is None else limit))
        if name != head and limit is not None:
            most = max(least, min(most, int(limit)))
        machine = _machine(node)
        machine_types.append(MachineType(machine, least, most, _spot(node), price_of(file.provider, region, machine)))
    return machine_types


def price_of(provider: str, region: str, machine: str) -> Price | None:
    """Return the list's price of a machine in a region; None if it is not in the list."""
    return _prices().get((provider, region, machine))


def region_of(provider: Mapping[str, Any]) -> str:
    """Return the region of a launcher file's `provider` section, if need be from its zone."""
    zone = str(provider.get("availability_zone") or "").split(",")[0]
    return str(provider.get("region") or zone.rpartition("-")[0])


def _machine(node: Mapping[str, Any]) -> str:
    name = str(node.get("InstanceType") or node.get("machineType") or "a machine without a type").rpartition("/")[2]
    added = [
        f"{accelerator.get('acceleratorCount', 1)} {str(accelerator.get('acceleratorType')).rpartition('/')[2]}"
        for accelerator in node.get("guestAccelerators") or []
    ]
    return " + ".join([name, *added])


def _spot(node: Mapping[str, Any]) -> bool:
    market = (node.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
    scheduling = node.get("scheduling") or {}
    return market or scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True


@cache
def _prices() -> dict[tuple[str, str, str], Price]:
    with LIST.open(newline="", encoding="utf-8") as file:
        return {
            (row["provider"], region, row["machine"]): Price(float(row["dollars"]), row["date"], row["source"])
            for row in csv.DictReader(file)
            for region in row["regions"].split()
        }
