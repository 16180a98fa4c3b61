"""What a cluster costs, as a table for the person who is about to start it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsc_ray.prices.machine_types import MachineType, machines_of, region_of
from wsc_ray.provision.cluster_file import ClusterFile


@dataclass(frozen=True)
class Offer:
    """The machines of a cluster with their prices.

    Attributes:
        where: the cluster's name, provider and region, in words.
    """

    where: str
    machines: tuple[MachineType, ...]

    @property
    def unknown(self) -> list[str]:
        """Machines that the list of prices does not know."""
        return sorted({each.machine for each in self.machines if each.price is None})

    @property
    def least(self) -> float | None:
        """Dollars an hour of the fewest machines on demand; None where a price is not known."""
        return self._sum([each.least for each in self.machines])

    @property
    def most(self) -> float | None:
        """Dollars an hour of the most machines that the file allows, on demand; None where a price is not known."""
        return self._sum([each.most for each in self.machines])

    def _sum(self, numbers: Sequence[int]) -> float | None:
        total = 0.0
        for number, each in zip(numbers, self.machines, strict=True):
            if each.price is None:
                return None
            total += number * each.price.dollars
        return total


def offer_of(file: ClusterFile) -> Offer:
    """The offer of a file of Ray's launcher in a cloud."""
    region = region_of(file.config["provider"]) or "no region"
    return Offer(f"{file.name} ({file.provider}, {region})", tuple(machines_of(file)))


def as_text(offer: Offer, seconds: float | None = None) -> str:
    """The offer as lines to print.

    Args:
        seconds: after which the cluster is taken down at the latest, whatever runs.
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
        lines.append(f"what {names} costs is not in the list of prices, so that no total can be given")
    else:
        lines.append(f"in all {_range(offer.least, offer.most)} dollars an hour, without disks, traffic and tax")
    if any(each.price for each in offer.machines):
        lines.append(
            "these prices are a copy that was not compared with the provider's page; look there before a long run"
        )
    if any(each.spot for each in offer.machines):
        lines.append("spot machines are counted with their price on demand, the most that they cost")
    lines.append(_limit(offer, seconds))
    return "\n".join(lines)


def _limit(offer: Offer, seconds: float | None) -> str:
    unknown = "nobody knows here how long the run takes"
    if seconds is None:
        return f"{unknown}, and nothing limits it: --max-hours or --max-cost would"
    limit = f"{unknown}; the cluster is taken down after {seconds / 3600:.4g} hours at the latest"
    return (
        limit if offer.most is None else f"{limit}: {offer.most * seconds / 3600:.2f} dollars at most by these prices"
    )


def _row(each: MachineType) -> tuple[str, str, str, str, str]:
    number = str(each.least) if each.least == each.most else f"{each.least} to {each.most}"
    kind = "spot" if each.spot else "on demand"
    if each.price is None:
        return number, each.machine, kind, "not known", "not in the list"
    return number, each.machine, kind, f"{each.price.dollars:.3f} each", f"{each.price.date}, {each.price.source}"


def _range(least: float | None, most: float | None) -> str:
    low, high = f"{least:.2f}", f"{most:.2f}"
    return low if low == high else f"{low} to {high}"
