"""What a client asks of the watch: a file on the head, which the watch reads again and again."""

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
    """What the watch has to know.

    Attributes:
        cluster: its name.
        storage: where the jobs' records go; None for nowhere.
        dollars_an_hour: of the cluster's fewest machines; see `Record`.
        changes: names of the limits that a cluster which is up gets; its others stay. None for a cluster that was brought up.
        given: when they were given, in seconds since 1970 by the head's clock.
        since: from when `limits.longest` counts.
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
    """
    Raises:
        ValueError, KeyError, TypeError: it is no order.
    """
    values: Mapping[str, Any] = json.loads(text)
    changes = None if values["changes"] is None else tuple(values["changes"])
    return Orders(**{**values, "limits": Limits(**values["limits"]), "changes": changes})


def merged(new: Orders, old: Orders | None, now: float) -> Orders:
    """The orders that hold once `new` come to a watch that has `old`; None for one that has none."""
    if old is None or new.changes is None:
        return replace(new, given=now, since=now)
    limits = replace(old.limits, **{name: getattr(new.limits, name) for name in new.changes})
    return replace(new, limits=limits, given=now, since=now if "longest" in new.changes else old.since)


def folder() -> Path:
    """The folder of the watch, which only its user reads."""
    place = Path(FOLDER).expanduser()
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def give(text: str, *, anew: bool) -> None:
    """Leave orders, as `Orders.to_json` writes them, for the watch.

    Args:
        anew: no watch runs, so that older orders mean nothing.

    Raises:
        ValueError, KeyError, TypeError: it is no order.
    """
    orders = merged(orders_from(text), None if anew else read(), time.time())
    temporary = folder() / f"{_ORDERS}.{os.getpid()}"
    temporary.write_text(orders.to_json())
    temporary.replace(folder() / _ORDERS)


def read() -> Orders:
    """The latest orders.

    Raises:
        FileNotFoundError: there are none.
    """
    return orders_from((folder() / _ORDERS).read_text())


def only_watch() -> IO[str] | None:
    """A lock that one watch holds for as long as the file is open; None where another one has it."""
    file = (folder() / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
