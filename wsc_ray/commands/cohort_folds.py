"""`wsc-ray cohort folds`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from wsc_ray.command import Option, command


@command("cohort folds", reads="manifest, features or your table", writes="`FILE`")
def cohort_folds(
    *,
    cohort: Annotated[str | Path, Option(metavar="COHORT", argument=True, kind="path")],
    out: Annotated[
        str | Path,
        Option("New table with the folds: CSV, or Parquet if the name ends in .parquet.", metavar="FILE", kind="path"),
    ],
    folds: Annotated[int, Option("Number of folds.", least=2, most=1000)] = 5,
    by: Annotated[
        Literal["patient", "site", "leave-one-site-out"],
        Option("Keep each patient, or each site, within one fold; or make one fold per site."),
    ] = "patient",
    target: Annotated[str, Option("Column of the label; its shares are kept alike in all folds.")] = "label",
    column: Annotated[str, Option("Name of the new column.")] = "fold",
    seed: Annotated[int, Option("Seed of the shuffle.", least=0)] = 0,
) -> dict[str, Any]:
    """Write a table of slides with a column of folds.

    \b
    COHORT is the folder of a manifest or of features (slides.parquet is read), or a CSV or Parquet table. Then:
      wsc-ray tune --run run --set data.cohort=FILE --set data.fold=fold

    Returns:
        `folds`: for each fold its slides, patients, and slides of each label; also `column`, `by`, `slides_without_label`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.cohort.fold_table import write_folds

    return write_folds(source=str(cohort), out=str(out), by=by, folds=folds, target=target, column=column, seed=seed)
