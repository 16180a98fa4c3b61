"""The price of a cluster, as a table for the user who is about to start it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsc_ray.prices.machine_types import MachineType, machines_of, region_of
from wsc_ray.provision.cluster_file import ClusterFile


@dataclass(frozen=True)
class Offer:
    """The machines of a cluster with their prices.

    Attributes:
        where: the cluster's name, provider and region, for the table's title.
    """

    where: str
    machines: tuple[MachineType, ...]

    @property
    def unknown(self) -> list[str]:
        """The machines that the list of prices lacks."""
        return sorted({machine_type.machine for machine_type in self.machines if machine_type.price is None})

    @property
    def least(self) -> float | None:
        """On-demand dollars per hour of the smallest number of machines; None if a price is not known."""
        return self._sum([machine_type.least for machine_type in self.machines])

    @property
    def most(self) -> float | None:
        """On-demand dollars per hour of the largest number of machines that the file allows; None if a price is not known."""
        return self._sum([machine_type.most for machine_type in self.machines])

    def _sum(self, numbers: Sequence[int]) -> float | None:
        total = 0.0
        for number, machine_type in zip(numbers, self.machines, strict=True):
            if machine_type.price is None:
                return None
            total += number * machine_type.price.dollars
        return total


def offer_of(file: ClusterFile) -> Offer:
    """Return the offer for a file of Ray's launcher in a cloud."""
    region = region_of(file.config["provider"]) or "no region"
    return Offer(f"{file.name} ({file.provider}, {region})", tuple(machines_of(file)))


def as_text(offer: Offer, seconds: float | None = None) -> str:
    """Return the offer as lines to print.

    Args:
        seconds: the longest time that the cluster is up, even while a job runs; None for no limit.
    """
    rows = [
        ("number", "machine", "kind", "dollars an hour", "price of, and page of today's"),
        *map(_row, offer.machines),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"machines of {offer.where}:"]
    lines += [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if offer.unknown:
        names = ", ".join(offer.unknown)
        lines.append(f"the list of prices lacks {names}, so that no total can be given")
    else:
        lines.append(f"in all {_range(offer.least, offer.most)} dollars an hour, without disks, traffic and tax")
    if any(machine_type.price for machine_type in offer.machines):
        lines.append("these prices were copied and not compared with the provider's page; look there before a long run")
    if any(machine_type.spot for machine_type in offer.machines):
        lines.append("spot machines are counted at their on-demand price, the most that they cost")
    lines.append(_limit(offer, seconds))
    return "\n".join(lines)


def _limit(offer: Offer, seconds: float | None) -> str:
    unknown = "how long the run takes is not known"
    if seconds is None:
        return f"{unknown}, and nothing limits it; --max-hours or --max-cost would"
    limit = f"{unknown}; the cluster is taken down after {seconds / 3600:.4g} hours at the latest"
    return (
        limit if offer.most is None else f"{limit}: {offer.most * seconds / 3600:.2f} dollars at most by these prices"
    )


def _row(machine_type: MachineType) -> tuple[str, str, str, str, str]:
    number = (
        str(machine_type.least)
        if machine_type.least == machine_type.most
        else f"{machine_type.least} to {machine_type.most}"
    )
    kind = "spot" if machine_type.spot else "on demand"
    if machine_type.price is None:
        return number, machine_type.machine, kind, "not known", "not in the list"
    return (
        number,
        machine_type.machine,
        kind,
        f"{machine_type.price.dollars:.3f} each",
        f"{machine_type.price.date}, {machine_type.price.source}",
    )


def _range(least: float | None, most: float | None) -> str:
    low, high = f"{least:.2f}", f"{most:.2f}"
    return low if low == high else f"{low} to {high}"
