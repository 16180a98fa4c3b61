"""The ledger of a run, `ledger.jsonl`: one line for each opening of its test slides.

Metrics of a test split are unbiased only as long as nothing is chosen with them. The ledger cannot prevent such a choice, but it
shows how often the slides were opened, for how many heads, and whether an evaluation only repeats an earlier one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

import wsc_ray
from wsc_ray.errors import RunFolderError
from wsc_ray.files import atomic
from wsc_ray.lock import locked
from wsc_ray.mil.ensemble import Member
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath
from wsc_ray.uris import values_without_secrets

LEDGER = "ledger.jsonl"
_WAIT = 30.0  # seconds to wait for another command that is writing its line


@dataclass(frozen=True)
class Opening:
    """One opening of test slides by an evaluation; all digests are SHA-256 (hex).

    Attributes:
        cohort: digest of the slides' ids, patients and labels.
        where: the split or the folds, in words.
        slides: the number of slides.
        head: digest of all members' weights.
        encoder: digest of the features' encoder; None if the features do not name it.
        features: digest of the slides' features.
        recipe: digest of the recipe's `seed`, `data` and `evaluate`.
    """

    command: str
    cohort: str
    where: str
    slides: int
    head: str
    encoder: str | None
    features: str
    recipe: str

    def repeats(self, line: dict[str, Any]) -> bool:
        """Return whether a line of the ledger is of the same evaluation."""
        return all(line.get(name) == getattr(self, name) for name in ("cohort", "head", "features", "recipe"))


def read_ledger(folder: AnyPath) -> list[dict[str, Any]]:
    """Return the lines of the ledger; none if there is no ledger yet.

    Raises:
        RunFolderError: the ledger cannot be read.
    """
    path = folder / LEDGER
    try:
        text = path.read_bytes().decode(errors="replace")  # a damaged line is named below
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or "cohort" not in values or "\ufffd" in line:
            raise RunFolderError(f"{path}, line {number}, is no line of a ledger; put the file back as it was written")
        lines.append(values)
    return lines


def record(folder: AnyPath, opening: Opening, *, run_id: str | None = None, completed: int = 0) -> dict[str, Any]:
    """Add a line to the ledger, atomically and under a lock.

    An evaluation that was killed after its line, before it wrote its results, and that is typed again adds none: it opens the slides once.

    Args:
        run_id: MLflow run of the evaluation, by which it knows its line when it is typed again.
        completed: number of the last opening whose results this evaluation has written; 0 for none.

    Returns:
        `opening`, how often the slides have been opened, this time included; `heads`, for how many different heads; `repeats`, how
        many of these openings repeated an earlier one; `repeat`, whether this one did.

    Raises:
        RunFolderError: the ledger cannot be read, or another command holds its lock for too long.
    """
    with locked(folder, opening.command, name=f".{LEDGER}.lock", wait=_WAIT):
        lines = read_ledger(folder)
        number, own = _last_line(lines, opening.cohort, run_id)
        if own is not None and number > completed and opening.repeats(own):
            return counted(lines, opening.cohort) | {"repeat": bool(own.get("repeat"))}
        repeat = any(opening.repeats(line) for line in lines)
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"when": when, "wsc_ray": wsc_ray.__version__, "repeat": repeat, **asdict(opening), "run_id": run_id}
        lines.append(line)
        with atomic(folder / LEDGER) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return counted(lines, opening.cohort) | {"repeat": repeat}


def _last_line(lines: Sequence[dict[str, Any]], cohort: str, run_id: str | None) -> tuple[int, dict[str, Any] | None]:
    """Return the last line of an MLflow run about a cohort, and which opening of the cohort it is; None if there is no such line."""
    own = [line for line in lines if line["cohort"] == cohort]
    for number in range(len(own), 0, -1):
        if run_id is not None and own[number - 1].get("run_id") == run_id:
            return number, own[number - 1]
    return 0, None


def last_opening(summary: Mapping[str, Any] | None) -> int:
    """Return the number of the opening that an evaluation's summary tells of; 0 without a summary."""
    ledger = (summary or {}).get("ledger")
    number = ledger.get("opening") if isinstance(ledger, dict) else None
    return number if isinstance(number, int) else 0


def cohort_of(lines: Sequence[dict[str, Any]], run_id: str) -> str | None:
    """Return the digest of the slides that an MLflow run's evaluation opened last; None if the ledger has no line of it."""
    return next((line["cohort"] for line in reversed(lines) if line.get("run_id") == run_id), None)


def counted(lines: Sequence[dict[str, Any]], cohort: str) -> dict[str, int]:
    """Return how often the slides with this digest were opened; see `record`."""
    own = [line for line in lines if line["cohort"] == cohort]
    heads = {line.get("head") for line in own}
    return {"opening": len(own), "heads": len(heads), "repeats": sum(bool(line.get("repeat")) for line in own)}


def digest_of_slides(slides: pa.Table) -> str:
    """Return the digest of the ids, patients and labels of slides; it does not depend on the order of the rows."""
    columns = (slides[name].to_pylist() for name in ("slide_id", "patient_id", "label"))
    return _digest(sorted(zip(*columns, strict=True)))


def digest_of_members(members: Sequence[Member]) -> str:
    """Return the digest of the weights of all members."""
    digest = hashlib.sha256()
    for member in members:
        digest.update(repr((member.name, member.fold)).encode())
        for name, tensor in sorted(member.head.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of_recipe(recipe: Recipe) -> str:
    """Return the digest of the recipe's sections that an evaluation uses."""
    return _digest(values_without_secrets(recipe.model_dump(mode="json", include={"seed", "data", "evaluate"})))


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
