"""The files of a search's finished trials, one folder per trial, from which a killed search goes on.

OUT/trials/trial-000/
  model.safetensors, config.json   the head of its best epoch
  history.json                     losses of each epoch
  trial.json                       settings and scores; written last: if it exists, the trial is finished
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import atomic, first_line, read_json, write_json
from wsc_ray.mil.fit import Fit
from wsc_ray.mil.head import PackedHead, Settings, load_head, save_head, settings_from, settings_values
from wsc_ray.storage import AnyPath

RECORD, HISTORY = "trial.json", "history.json"
SCRATCH = ".tune"  # folder of Tune's own files, which only a running search needs


@dataclass(frozen=True)
class Trial:
    """A finished trial. `scores` are on the validation slides: `loss`, `auroc`, `balanced_accuracy`.

    A trial that the scheduler `stopped` has the scores of its best epoch until then.
    """

    number: int
    setting: Settings
    scores: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    stopped: bool = False

    @property
    def name(self) -> str:
        return trial_name(self.number)

    @property
    def described(self) -> dict[str, Any]:
        """The settings as a dictionary, with the head's name first."""
        return settings_values(self.setting)


def clear_scratch(out: AnyPath) -> None:
    """Delete Tune's own files, which a killed search leaves; an object store never has such files."""
    if isinstance(out, Path):
        shutil.rmtree(out / SCRATCH, ignore_errors=True)


def trial_name(number: int) -> str:
    return f"trial-{number:03d}"


def trial_folder(out: AnyPath, number: int) -> AnyPath:
    return out / "trials" / trial_name(number)


def write_fit(out: AnyPath, number: int, setting: Settings, fit: Fit, classes: Sequence[str]) -> None:
    """Write a trial's head and history, but not its record; repeating a trial writes the same files."""
    folder = trial_folder(out, number)
    save_head(folder, fit.head, setting, classes)
    write_json(folder / HISTORY, {"history": fit.history})


def write_record(out: AnyPath, trial: Trial) -> None:
    """Write the record of a trial whose head is written already; the trial is then finished."""
    write_json(trial_folder(out, trial.number) / RECORD, {**asdict(trial), "setting": trial.described})


def head_of_trial(out: AnyPath, number: int) -> PackedHead:
    """Return the head of a finished trial.

    Raises:
        RunFolderError: the head is damaged.
    """
    folder = trial_folder(out, number)
    try:
        return load_head(folder)[0]
    except (RunFolderError, WeightsError) as error:
        raise RunFolderError(f"{error}, once {folder} is deleted: the same command runs that trial again") from None


def read_losses(out: AnyPath, number: int) -> list[float]:
    """Return the validation loss of each epoch of a finished trial.

    Raises:
        RunFolderError: its history is damaged.
    """
    path = trial_folder(out, number) / HISTORY
    try:
        return [float(entry["val_loss"]) for entry in read_json(path)["history"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be read: {first_line(error)}; delete {path.parent}, and the same command runs that trial again"
        ) from None


def read_trial(out: AnyPath, number: int) -> Trial | None:
    """Return a finished trial; None if it has not run or was interrupted.

    Raises:
        RunFolderError: its record is damaged.
    """
    path = trial_folder(out, number) / RECORD
    try:
        values = read_json(path)
        trial = Trial(**{**values, "setting": settings_from(values["setting"])})
        for name in ("auroc", "balanced_accuracy", "loss"):
            float(trial.scores[name])
        if trial.number != number:
            raise ValueError(f"it is of trial {trial.number}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be read: {first_line(error)}; delete {path.parent}, and the same command runs that trial again"
        ) from None
    return trial


def read_trials(out: AnyPath, count: int) -> dict[int, Trial]:
    """Return the finished trials among the first `count`, by number.

    The folder is listed once, and only existing records are read.
    """
    folder = out / "trials"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    numbers = [number for number in range(count) if trial_name(number) in names] if names else []
    return {number: trial for number in numbers if (trial := read_trial(out, number)) is not None}


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest validation AUROC; among equals that with the lowest validation loss, then the first.

    A trial that the scheduler stopped is not chosen. AUROC measures the ranking of slides and changes with every pair of slides,
    while balanced accuracy depends on a threshold and changes in steps of a slide. With few validation slides even AUROC has ties,
    and the loss decides.
    """
    ended = [trial for trial in trials if not trial.stopped]
    return min(ended or trials, key=lambda trial: (-trial.scores["auroc"], trial.scores["loss"], trial.number))


def write_table(path: AnyPath, searches: Mapping[str | None, Sequence[Trial]]) -> None:
    """Write `trials.csv`, with one row per trial: settings and scores, and with several searches their fold first.

    Args:
        searches: trials by the fold that was held out from them; None: the only search.
    """
    rows = [
        {
            **({} if fold is None else {"fold": fold}),
            "trial": trial.name,
            **trial.described,
            **{f"val_{key}": value for key, value in trial.scores.items()},
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 2),
            "stopped": trial.stopped,
            "chosen": trial.number == best_trial(trials).number,
        }
        for fold, trials in searches.items()
        for trial in trials
    ]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(name for row in rows for name in row))  # heads have different settings
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
