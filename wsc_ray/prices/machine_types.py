"""Which machines a file of Ray's launcher starts, how many, and what each costs an hour by the list of prices."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wsc_ray.provision.cluster_file import ClusterFile

LIST = Path(__file__).with_name("list.csv")
CLOUDS = ("aws", "gcp")  # those that the list has prices of


@dataclass(frozen=True)
class Price:
    """Dollars an hour of one machine on demand under Linux, without disks, traffic and tax.

    Attributes:
        date: when the price was the provider's, as far as it is known: a year, a month or a day. The list is a copy, most of it by others;
            nobody has compared it with the page.
        source: the provider's page, where the price of today is.
    """

    dollars: float
    date: str
    source: str


@dataclass(frozen=True)
class MachineType:
    """Machines of one type, and what one costs.

    Attributes:
        machine: the provider's name of the type, with what is added to it.
        least, most: how many there can be.
        spot: whether the provider may take them back; they then cost less than the price on demand.
        price: None where the list does not know the machine.
    """

    machine: str
    least: int
    most: int
    spot: bool
    price: Price | None


def cost_money(file: ClusterFile) -> bool:
    """Whether somebody is paid for machines that this file starts: Ray's launcher on a cloud."""
    return file.kind == "launcher" and file.provider != "local"


def machines_of(file: ClusterFile) -> list[MachineType]:
    """The machines that a file of Ray's launcher starts in a cloud, the head first."""
    config = file.config
    region = region_of(config["provider"])
    head, limit = config.get("head_node_type"), config.get("max_workers")
    types = config.get("available_node_types") or {}
    found = []
    for name, node_type in sorted(types.items(), key=lambda item: item[0] != head):
        node = node_type.get("node_config") or {}
        least = 1 if name == head else int(node_type.get("min_workers", 0))
        most = 1 if name == head else int(node_type.get("max_workers", least if limit is None else limit))
        if name != head and limit is not None:
            most = max(least, min(most, int(limit)))
        machine = _machine(node)
        found.append(MachineType(machine, least, most, _spot(node), price_of(file.provider, region, machine)))
    return found


def price_of(provider: str, region: str, machine: str) -> Price | None:
    """The list's price of a machine in a region; None where it has none."""
    return _prices().get((provider, region, machine))


def region_of(provider: Mapping[str, Any]) -> str:
    """The region of a launcher file's `provider`, or what its zone says of it."""
    zone = str(provider.get("availability_zone") or "").split(",")[0]
    return str(provider.get("region") or zone.rpartition("-")[0])


def _machine(node: Mapping[str, Any]) -> str:
    name = str(node.get("InstanceType") or node.get("machineType") or "a machine without a type").rpartition("/")[2]
    added = [
        f"{each.get('acceleratorCount', 1)} {str(each.get('acceleratorType')).rpartition('/')[2]}"
        for each in node.get("guestAccelerators") or []
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
