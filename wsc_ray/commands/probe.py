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
    reads_manifest=False,
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
        Option("Measure on the test split, and learn from training and validation slides; the ledger records it."),
    ] = False,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Measure features without a head.

    Nearest neighbours and a linear classifier predict the labels of slides, from mean features, and of patches whose labels are
    known. If the cohort has a column `site`, the site is predicted too. Each patient is predicted from other patients. Test
    slides are not used without --test.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.probes.run import probe_features

    return probe_features(
        run=run, features=features, out=out, test=test, recipe=recipe, overrides=overrides, dry_run=dry_run
    )
