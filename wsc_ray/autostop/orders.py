"""The orders of a client to the watch: a file on the head, which the watch reads repeatedly."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from wsc_ray.autostop.limits import Limits

FOLDER = "~/.wsc-ray"  # on the head
_ORDERS, _LOCK, LOG = "autostop.json", "autostop.lock", "autostop.log"


@dataclass(frozen=True)
class Orders:
    """The limits and facts that the watch needs.

    Attributes:
        limits: when to take the cluster down.
        cluster: the cluster's name.
        storage: the place for the records of jobs; None to write no records.
        dollars_an_hour: price of the cluster's smallest number of machines; see `Record`.
        changes: names of the limits that change on a cluster that is up already; None for a new cluster, where all are set.
        given: when the orders were given, in seconds since 1970 by the head's clock.
        since: the start of the time that `limits.longest` limits, likewise.
    """

    limits: Limits
    cluster: str
    storage: str | None
    dollars_an_hour: float | None
    changes: tuple[str, ...] | None = None
    given: float = 0.0
    since: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def orders_from(text: str) -> Orders:
    """Return the orders in a text that `Orders.to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: the text holds no orders.
    """
    values: Mapping[str, Any] = json.loads(text)
    changes = None if values["changes"] is None else tuple(values["changes"])
    return Orders(**{**values, "limits": Limits(**values["limits"]), "changes": changes})


def merged(new: Orders, old: Orders | None, now: float) -> Orders:
    """Return the orders in force after `new` arrive at time `now`; `old` are the earlier ones, None for a new watch."""
    if old is None or new.changes is None:
        return replace(new, given=now, since=now)
    limits = replace(old.limits, **{name: getattr(new.limits, name) for name in new.changes})
    return replace(new, limits=limits, given=now, since=now if "longest" in new.changes else old.since)


def folder() -> Path:
    """Return the watch's folder, which only its user can read; it is created if it does not exist."""
    place = Path(FOLDER).expanduser()
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def give(text: str, *, anew: bool) -> None:
    """Write orders for the watch.

    Args:
        text: orders, as `Orders.to_json` writes them.
        anew: whether no watch runs, so that earlier orders are ignored.

    Raises:
        ValueError, KeyError, TypeError: the text holds no orders.
    """
    orders = merged(orders_from(text), None if anew else read(), time.time())
    temporary = folder() / f"{_ORDERS}.{os.getpid()}"
    temporary.write_text(orders.to_json())
    temporary.replace(folder() / _ORDERS)


def read() -> Orders:
    """Return the latest orders.

    Raises:
        FileNotFoundError: there are none.
        ValueError, KeyError, TypeError: the file holds no orders.
    """
    return orders_from((folder() / _ORDERS).read_text())


def only_watch() -> IO[str] | None:
    """Return an open file that holds the watch's lock until it is closed; None if another watch has the lock."""
    file = (folder() / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
