"""The quarantine: the list of the patches that a run could not read, and the limit on their number.

A patch is identified by its place in the manifest, so that the list holds each patch once, whichever worker meets it and
however often. Each entry has the step that met the patch first: a run that resumes from a checkpoint keeps the entries
of earlier steps and meets the other patches again, if they are still unreadable.
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
    """A patch that cannot be read, and why.

    Attributes:
        file, row_group, row: its place in the manifest.
        slide_id, x, y: its slide, and its top left corner in px of level 0; None where these are unreadable, too.
    """

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


def to_json(patches: Sequence[Bad]) -> str:
    """Return bad patches as a short text for a batch's column, empty where there are none."""
    return json.dumps([list(asdict(bad).values()) for bad in patches], separators=(",", ":")) if patches else ""


def from_json(text: str) -> list[Bad]:
    """Return the bad patches that `to_json` wrote."""
    return [Bad(*values) for values in json.loads(text)] if text else []


def allowed(patches: int, fraction: float) -> int:
    """Return how many of a run's patches may be bad; with more of them the run stops.

    The limit is three standard deviations above `fraction`, so that a manifest with exactly this share of damaged
    patches does not stop a run whose training split happens to hold a few more. It is 0 where the fraction is 0.
    """
    expected = fraction * patches
    return math.floor(expected + 3 * math.sqrt(expected))


class Quarantine:
    """The bad patches of a run, with the step that met each first."""

    def __init__(self, steps: Iterable[tuple[Bad, int]] = ()):
        self._entries: dict[tuple[str, int, int], tuple[Bad, int]] = {}  # by place
        for bad, step in steps:
            self.add(bad, step)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, bad: Bad, step: int) -> bool:
        """Add a patch that was met at `step`; return whether the list changed."""
        entry = self._entries.get(bad.place)
        if entry is not None and entry[1] <= step:
            return False
        self._entries[bad.place] = (bad, step)
        return True

    def table(self) -> pa.Table:
        """Return the list as a table of `SCHEMA`, ordered by slide, x and y, then by place."""
        rows = sorted(
            self._entries.values(), key=lambda row: (row[0].slide_id or "", row[0].x or 0, row[0].y or 0, row[0].place)
        )
        values = [{**asdict(bad), "reason": without_secrets(bad.reason), "first_step": step} for bad, step in rows]
        return pa.Table.from_pylist(values, schema=SCHEMA)

    def write(self, folder: AnyPath) -> None:
        """Write the list into a run folder in one step; an empty list leaves no file."""
        path = folder / QUARANTINE
        if not self._entries:
            path.unlink(missing_ok=True)
            return
        write_table(path, self.table())

    def excess(self, patches: int, fraction: float, folder: AnyPath) -> BadInputError | None:
        """Return the error for more bad patches than `stream.max_bad_fraction` allows, else None.

        Args:
            patches: number of patches in the training split.
            folder: the run folder, which holds the list.
        """
        count = len(self)
        if count <= allowed(patches, fraction):
            return None
        examples = [bad for bad, _ in self._entries.values()][:EXAMPLES]
        return BadInputError(
            f"{count:,} of {patches:,} training patches ({count / patches:.1%}) cannot be read, and "
            f"stream.max_bad_fraction allows {fraction:.3g}; {folder / QUARANTINE} lists them; mend them, import the "
            "manifest without them, or allow more, and run the same command again; for example "
            + "; ".join(str(bad) for bad in examples)
        )


def read_quarantine(folder: AnyPath, before: int | None = None) -> Quarantine:
    """Return the list of a run folder, empty where there is none.

    Args:
        before: leave out patches that were met at this step or later.

    Raises:
        RunFolderError: the list is damaged.
    """
    try:
        rows = read_table(folder / QUARANTINE, SCHEMA).to_pylist()
    except FileNotFoundError:
        return Quarantine()
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder / QUARANTINE} cannot be read: {error}; delete it: unreadable patches are listed when they are met again"
        ) from None
    met = ((Bad(**{name: row[name] for name in Bad.__dataclass_fields__}), row["first_step"]) for row in rows)
    return Quarantine((bad, step) for bad, step in met if before is None or step < before)
