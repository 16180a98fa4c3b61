"""The costs of a cluster: printed and agreed to before it starts, and limited by the watch on its head."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from wsc_ray.autostop.end import PROVIDERS
from wsc_ray.autostop.limits import NEVER, Limits, limits_of
from wsc_ray.autostop.orders import Orders
from wsc_ray.errors import ClusterError
from wsc_ray.prices.machine_types import cost_money
from wsc_ray.prices.offer import as_text, offer_of
from wsc_ray.provision.cluster_file import ClusterFile
from wsc_ray.uris import has_secrets


@dataclass(frozen=True)
class Spending:
    """The options of a command that limit what a cluster may cost; see `limits_of`.

    Attributes:
        yes: whether to start machines that cost money without asking.
    """

    yes: bool = False
    autostop: str | float | None = None
    keep_failed: float | None = None
    max_hours: float | None = None
    max_cost: float | None = None

    @property
    def limited(self) -> tuple[str, ...]:
        """The names of the given limits; on a cluster that is up already, only these change."""
        given = {
            "idle": self.autostop is not None,
            "failed": self.keep_failed is not None,
            "longest": self.max_hours is not None or self.max_cost is not None,
        }
        return tuple(name for name, is_given in given.items() if is_given)


def spending_of(arguments: Mapping[str, Any]) -> Spending:
    """Return the spending options among a command's arguments."""
    return Spending(**{field.name: arguments[field.name] for field in fields(Spending) if field.name in arguments})


@dataclass(frozen=True)
class Money:
    """A cluster's costs and limits.

    Attributes:
        limits: the limits of its watch; None for a cluster that has no watch.
        orders: the orders for its watch; None for a cluster that has no watch.
        text: the table of machines and prices; None if the machines cost nothing.
    """

    limits: Limits | None
    orders: Orders | None
    text: str | None


def on_a_cluster(file: ClusterFile, spending: Spending) -> Money:
    """Return the costs and limits of a file's cluster.

    Raises:
        ClusterError: a limit is not a valid number, or this provider's clusters have no watch that could keep it.
    """
    offer = offer_of(file) if cost_money(file) else None
    if file.provider not in PROVIDERS:
        if spending.limited and spending != replace(Spending(autostop=NEVER), yes=spending.yes):
            raise ClusterError(
                f"--cluster {file.path}: nothing takes a cluster of {file.provider} down by itself, so that --autostop, --keep-failed, "
                "--max-hours and --max-cost have no place here"
            )
        return Money(None, None, as_text(offer) if offer else None)
    limits = limits_of(
        autostop=spending.autostop,
        keep_failed=spending.keep_failed,
        max_hours=spending.max_hours,
        max_cost=spending.max_cost,
        dollars_an_hour=offer.most if offer else 0.0,
    )
    text = as_text(offer, limits.longest) if offer else None
    if text and str(limits) != NEVER:
        text += f"\nits head takes it down {limits}"
    dollars = offer.least if offer else 0.0
    # No storage with secrets: the orders are visible for a moment in the head's list of processes.
    storage = file.storage if file.storage and not has_secrets(file.storage) else None
    return Money(limits, Orders(limits, file.name, storage, dollars), text)


def agree(money: Money, *, yes: bool) -> None:
    """Print what a cluster costs, and ask the user to agree unless `yes`; a cluster without costs needs no agreement.

    Raises:
        ClusterError: the user did not agree, or there is no terminal to ask at.
    """
    if money.text is None:
        return
    print(money.text, flush=True)
    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise ClusterError("nothing was started: machines that cost money are started with --yes, or from a terminal")
    print("start them? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ClusterError("nothing was started")
