"""`wsc-ray evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Head, Option, Overrides, RecipeFile, Run, Where, command
from wsc_ray.describe import describe
from wsc_ray.errors import RecipeError


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    if "results" in summary:
        from wsc_ray.evaluate.compare_run import describe_comparison

        return describe_comparison(summary, dry_run=dry_run)
    if dry_run or "metrics" not in summary:
        return describe(summary, dry_run=dry_run)
    from wsc_ray.evaluate.describe import describe as describe_evaluation

    return describe_evaluation(dict(summary))


@command(
    "evaluate",
    reads="`RUN/features`, `RUN/mil`",
    writes="`RUN/evaluate`, `RUN/ledger.jsonl`",
    sent=True,
    reads_manifest=False,
    out_in_run="evaluate",
    resources=lambda recipe: {"process": "1, on the head"},
    describe=_describe,
)
def evaluate(
    *,
    results: Annotated[Sequence[str | Path], Option(metavar="RESULT...", argument=True, kind="paths")] = (),
    compare: Annotated[
        bool,
        Option(
            "Compare results of the same slides. Each RESULT is a run folder, a folder of `evaluate`, or a table with slide_id and "
            "prob_<label>. Without --out the comparison is only printed."
        ),
    ] = False,
    run: Run = None,
    features: Annotated[
        str | Path | None, Option("Features to use.  [default: RUN/features]", metavar="DIR", kind="path")
    ] = None,
    head: Head = None,
    out: Annotated[
        str | Path | None, Option("Folder for the results.  [default: RUN/evaluate]", metavar="DIR", kind="path")
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Measure the chosen head on the test split.

    Every metric has a bootstrap interval over patients and members. Each time the command is typed it writes the same results
    again, and the run's ledger counts how often the test split was opened.

    \b
    To compare predictions for the same slides, with intervals of the differences:
      wsc-ray evaluate --compare RUN_A RUN_B theirs.csv

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan. Each metric has `value`, `low`, `high` (null
        where it is not defined) and `left_out`, the number of bootstrap samples in which it is not defined. For a comparison:
        `metrics` of each result, and `differences`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    if compare or results:
        if not compare or any(folder is not None for folder in (run, features, head)):
            raise RecipeError(
                "evaluate",
                ["--compare: give --compare RESULT... to compare results, or --run RUN to measure a head; not both"],
            )
        from wsc_ray.evaluate.compare_run import compare_results

        return compare_results(results=results, out=out, recipe=recipe, overrides=overrides, dry_run=dry_run)
    from wsc_ray.evaluate.run import evaluate_head

    return evaluate_head(
        run=run, features=features, head=head, out=out, recipe=recipe, overrides=overrides, dry_run=dry_run
    )
