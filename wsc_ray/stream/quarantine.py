"""Unreadable patches: what is known of them, the list of a run, and when there are too many.

A patch is told from another by its place in the manifest, so that the list holds each once, whoever meets it and
however often. What a run has found belongs to the step that met it first: a run that goes on from a checkpoint keeps
what was found before it, and finds the rest again if it is still so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from wsc_ray.errors import BadInputError, RunFolderError
from wsc_ray.files import read_table, write_table
from wsc_ray.storage import AnyPath
from wsc_ray.uris import without_secrets

QUARANTINE = "quarantine.parquet"  # in the run folder
EXAMPLES = 3
SCHEMA = pa.schema(
    [
        ("slide_id", pa.string()),
        ("x", pa.int64()),
        ("y", pa.int64()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("reason", pa.string()),
        ("first_step", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Bad:
    """A patch that cannot be read: its place in the manifest, whose it is (None where even that is unreadable), why."""

    file: str
    row_group: int
    row: int
    slide_id: str | None
    x: int | None
    y: int | None
    reason: str

    @property
    def place(self) -> tuple[str, int, int]:
        return self.file, self.row_group, self.row

    def __str__(self) -> str:
        where = f"slide {self.slide_id}, x {self.x}, y {self.y}" if self.slide_id is not None else f"row {self.row}"
        return f"{where}: {self.reason}"


def to_json(found: Sequence[Bad]) -> str:
    """For a batch's column: a short text, empty where nothing was bad."""
    return json.dumps([list(asdict(bad).values()) for bad in found], separators=(",", ":")) if found else ""


def from_json(text: str) -> list[Bad]:
    return [Bad(*values) for values in json.loads(text)] if text else []


def allowed(patches: int, fraction: float) -> int:
    """How many of a run's patches may be bad before it stops.

    Three standard deviations more than the fraction, so that a manifest in which exactly that share is damaged is not
    stopped for having a few more of them in its training split; none where the fraction is 0.
    """
    expected = fraction * patches
    return math.floor(expected + 3 * math.sqrt(expected))


class Quarantine:
    """The bad patches of a run, with the step that met each first."""

    def __init__(self, steps: Iterable[tuple[Bad, int]] = ()):
        self._found: dict[tuple[str, int, int], tuple[Bad, int]] = {}
        for bad, step in steps:
            self.add(bad, step)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, bad: Bad, step: int) -> bool:
        """Take up a patch that was met at `step`, and say whether the list changed."""
        known = self._found.get(bad.place)
        if known is not None and known[1] <= step:
            return False
        self._found[bad.place] = (bad, step)
        return True

    def table(self) -> pa.Table:
        """`SCHEMA`, ordered by slide, x and y, then by place."""
        rows = sorted(
            self._found.values(), key=lambda row: (row[0].slide_id or "", row[0].x or 0, row[0].y or 0, row[0].place)
        )
        values = [{**asdict(bad), "reason": without_secrets(bad.reason), "first_step": step} for bad, step in rows]
        return pa.Table.from_pylist(values, schema=SCHEMA)

    def write(self, folder: AnyPath) -> None:
        """Write the list into a run folder in one step; no file where it is empty."""
        path = folder / QUARANTINE
        if not self._found:
            path.unlink(missing_ok=True)
            return
        write_table(path, self.table())

    def excess(self, patches: int, fraction: float, folder: AnyPath) -> BadInputError | None:
        """What to tell the user where more is bad than `stream.max_bad_fraction` allows, else None.

        Args:
            patches: of the training split.
            folder: the run's, where the list is.
        """
        count = len(self)
        if count <= allowed(patches, fraction):
            return None
        examples = [bad for bad, _ in self._found.values()][:EXAMPLES]
        return BadInputError(
            f"{count:,} of {patches:,} training patches ({count / patches:.1%}) cannot be read, and "
            f"stream.max_bad_fraction allows {fraction:.3g}; {folder / QUARANTINE} lists them; mend them, import the "
            "manifest without them, or allow more, and run the same command again; for example "
            + "; ".join(str(bad) for bad in examples)
        )


def read_quarantine(folder: AnyPath, before: int | None = None) -> Quarantine:
    """The list in a run folder, empty where there is none.

    Args:
        before: leave out what was met at this step or later.

    Raises:
        RunFolderError: the list is damaged.
    """
    try:
        rows = read_table(folder / QUARANTINE, SCHEMA).to_pylist()
    except FileNotFoundError:
        return Quarantine()
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder / QUARANTINE} cannot be read: {error}; delete it, and what was unreadable is listed when it is met again"
        ) from None
    met = ((Bad(**{name: row[name] for name in Bad.__dataclass_fields__}), row["first_step"]) for row in rows)
    return Quarantine((bad, step) for bad, step in met if before is None or step < before)
