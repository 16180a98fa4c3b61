"""What a client asks of the watch: a file on the head, which the watch reads again and again."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
        given: when they were given, in seconds since 1970 by the head's clock.
    """

    limits: Limits
    cluster: str
    storage: str | None
    dollars_an_hour: float | None
    given: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def orders_from(text: str) -> Orders:
    """
    Raises:
        ValueError, KeyError, TypeError: it is no order.
    """
    values: Mapping[str, Any] = json.loads(text)
    return Orders(**{**values, "limits": Limits(**values["limits"])})


def folder() -> Path:
    """The folder of the watch, which only its user reads."""
    place = Path(FOLDER).expanduser()
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def give(text: str) -> Orders:
    """Leave orders, as `Orders.to_json` writes them, for the watch.

    Raises:
        ValueError, KeyError, TypeError: it is no order.
    """
    orders = orders_from(text)
    stamped = Orders(**{**vars(orders), "given": time.time()})
    temporary = folder() / f"{_ORDERS}.{os.getpid()}"
    temporary.write_text(stamped.to_json())
    temporary.replace(folder() / _ORDERS)
    return stamped


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
