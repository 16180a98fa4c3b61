"""`wsc-ray cohort folds`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from wsc_ray.command import Option, command


@command("cohort folds", reads="manifest, features or a table of yours", writes="`FILE`")
def cohort_folds(
    *,
    cohort: Annotated[str | Path, Option(metavar="COHORT", argument=True, kind="path")],
    out: Annotated[
        str | Path, Option("New table with the folds; CSV, or Parquet by its name.", metavar="FILE", kind="path")
    ],
    folds: Annotated[int, Option("Number of folds.", least=2, most=1000)] = 5,
    by: Annotated[
        Literal["patient", "site", "leave-one-site-out"],
        Option("What stays together in a fold: patients, or whole sites; or each site is a fold."),
    ] = "patient",
    target: Annotated[str, Option("Column of the label, whose shares are alike in all folds.")] = "label",
    column: Annotated[str, Option("Name of the column of folds.")] = "fold",
    seed: Annotated[int, Option("Seed of the shuffle.", least=0)] = 0,
) -> dict[str, Any]:
    """Write a table of slides with a column of folds.

    \b
    COHORT is a manifest or features (their slides.parquet), or a CSV or Parquet table. Then:
      wsc-ray tune --run run --set data.cohort=FILE --set data.fold=fold

    Returns:
        `folds`, by name: slides, patients, and slides of each label; also `column`, `by`, `slides_without_label`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.cohort.fold_table import write_folds

    return write_folds(source=str(cohort), out=str(out), by=by, folds=folds, target=target, column=column, seed=seed)
