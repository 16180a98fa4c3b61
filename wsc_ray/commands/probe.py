"""`wsc-ray probe`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Option, Overrides, RecipeFile, Run, Where, command
from wsc_ray.describe import describe


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    if dry_run or "probes" not in summary:
        return describe(summary, dry_run=dry_run)
    from wsc_ray.probes.describe import describe_probes

    return describe_probes(summary)


@command(
    "probe",
    reads="`RUN/features`",
    writes="`RUN/probe`",
    sent=True,
    out_in_run="probe",
    resources=lambda recipe: {"process": "1, on the head"},
    describe=_describe,
)
def probe(
    *,
    run: Run = None,
    features: Annotated[
        str | Path | None, Option("Features to use.  [default: RUN/features]", metavar="DIR", kind="path")
    ] = None,
    out: Annotated[
        str | Path | None, Option("Folder for the results.  [default: RUN/probe]", metavar="DIR", kind="path")
    ] = None,
    test: Annotated[
        bool,
        Option("Learn from training and validation slides and measure on the test split, which the ledger records."),
    ] = False,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Measure features without a head.

    By nearest neighbours and a linear classifier, of slides (mean features) and where their labels are known of patches; and
    where the cohort has `site`, how much of it is in the features. Patients are predicted from others, and test slides are
    not looked at without --test.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.probes.run import probe_features

    return probe_features(
        run=run, features=features, out=out, test=test, recipe=recipe, overrides=overrides, dry_run=dry_run
    )
