"""What bringing a cluster up costs: said before anything starts, agreed to, and limited by the watch on its head."""

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
    """The options of a command that say what a cluster may cost; see `limits_of`.

    Attributes:
        yes: whether machines that cost money may be started without asking.
    """

    yes: bool = False
    autostop: str | float | None = None
    keep_failed: float | None = None
    max_hours: float | None = None
    max_cost: float | None = None

    @property
    def limited(self) -> tuple[str, ...]:
        """Names of the limits that were given, which a cluster that is up gets."""
        given = {
            "idle": self.autostop is not None,
            "failed": self.keep_failed is not None,
            "longest": self.max_hours is not None or self.max_cost is not None,
        }
        return tuple(name for name, is_given in given.items() if is_given)


def spending_of(arguments: Mapping[str, Any]) -> Spending:
    """What a command's arguments say of it."""
    return Spending(**{each.name: arguments[each.name] for each in fields(Spending) if each.name in arguments})


@dataclass(frozen=True)
class Money:
    """What is known of a cluster's costs.

    Attributes:
        limits: of its watch; None where nothing can watch it.
        orders: for the watch; None where nothing can watch it.
        text: the table of machines and prices; None where they cost nothing here.
    """

    limits: Limits | None
    orders: Orders | None
    text: str | None


def on_a_cluster(file: ClusterFile, spending: Spending) -> Money:
    """The costs and limits of a file's cluster.

    Raises:
        ClusterError: a limit that is none, or one that nothing keeps on this provider.
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
    # The head's list of processes shows the orders for a moment.
    storage = file.storage if file.storage and not has_secrets(file.storage) else None
    return Money(limits, Orders(limits, file.name, storage, dollars), text)


def agree(money: Money, *, yes: bool) -> None:
    """Print what a cluster costs and go on with the agreement of whoever is there; at once where it costs nothing here.

    Raises:
        ClusterError: nobody has agreed.
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
