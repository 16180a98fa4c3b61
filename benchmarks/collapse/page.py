"""The grid as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.collapse.gradients import ESCAPE_LR, ESCAPE_STEPS, FALL_STEPS, HALVES
from benchmarks.collapse.training import WARMUPS
from wsc_ray.bench.markdown import environment, table
from wsc_ray.pretrain.collapse import EFFECTIVE_RANK, MEAN_COSINE


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table with one line per training."""
    header = [
        "encoder",
        "batch",
        "lr",
        "weight",
        "steps",
        "share",
        "similarity",
        "contrastive",
        "mean cosine",
        "highest",
    ]
    return table([*header, "effective rank", "collapsed"], [_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> list[str]:
    last = row["last"]
    return [
        row["encoder"],
        f"{row['batch_size']:,}",
        f"{row['lr']:g}",
        WARMUPS[row["warmup"]],
        str(row["steps"]),
        f"{last['similarity_weight']:.2f}",
        f"{last['similarity']:.3f}",
        f"{last['contrastive']:.2f}",
        f"{last['mean_cosine']:.3f}",
        f"{row['highest_cosine']:.3f}",
        f"{last['effective_rank']:.1f}",
        "**yes**" if last["collapsed"] else "no",
    ]


def counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of trainings that collapsed, by weight."""
    lines = []
    for warmup, name in WARMUPS.items():
        own = [row for row in rows if row["warmup"] == warmup]
        lines.append([name, str(len(own)), str(sum(bool(row["last"]["collapsed"]) for row in own))])
    return table(["weight", "trainings", "collapsed"], lines)


def _gradients(first: Mapping[str, Any]) -> str:
    rows = []
    for kind, found in first.items():
        norms = found["gradients"]
        for half in HALVES:
            rows.append([kind, half, *(f"{norms[half][part]:.2f}" for part in norms[half]), f"{found['along']:+.2f}"])
    return table(["weights", "half", "encoder", "head", "last bias", "cosine of the two, last bias"], rows)


def _shifts(first: Mapping[str, Any]) -> str:
    shifts = [at["shift"] for at in next(iter(first.values()))["shifts"]]
    rows = [
        [kind, half, *(f"{at[half]:.2f}" for at in found["shifts"])] for kind, found in first.items() for half in HALVES
    ]
    return table(["encoder", "half", *(f"{shift:g}" for shift in shifts)], rows)


def _escape(away: Mapping[str, Any]) -> str:
    rows = [
        [f"{at['distance']:g}", f"{at['plateau'] - at['first']:.4f}", f"{at['plateau'] - at['last']:.4f}"]
        for at in away["escape"]
    ]
    return table(["bias away by", "below the plateau at step 5", f"at step {ESCAPE_STEPS}"], rows)


def page(summary: Mapping[str, Any]) -> str:
    """Return the whole page."""
    sections = [
        "# Which trainings collapse",
        "The first steps of WeakSupCon from random and from ImageNet weights, at the paper's constant weight of the similarity half and at the "
        "recipe's default, `loss.similarity_warmup: progress`. [What happens there](../docs/collapse.md).",
        f"To repeat it: `{summary['invocation']}`.",
        environment(summary),
        "Real patches of PatchCamelyon in pseudo-slides, 1,024 of negative and 1,024 of positive ones, with eight augmented views each. Both weights "
        "are 1 after their rise. The learning rate has no warm-up, momentum is 0.9, and everything else is the recipe's default. "
        f"*Collapsed* is what `pretrain` warns of: mean cosine above {MEAN_COSINE} and effective rank below {EFFECTIVE_RANK:g}, of positive slides' patches, "
        "at the last step. *Share* is what the similarity half has of its weight there: by default it rises by at most 0.005 a step, so that the short trainings show the first steps and those of 300 the rise. *Highest* is the largest mean cosine of every fifth step.",
        counts(summary["rows"]),
        "## The grid",
        table_of(summary["rows"]),
        "## Gradients before the first step",
        f"Norms at a batch of {summary['first_batch']}, and whether both halves move the head's last bias the same way (+1) or against each other (-1).",
        _gradients(summary["first"]),
        "## Moving the last bias alone",
        "Both halves when the head's last bias goes down the similarity half's gradient, by so many mean lengths of the projections. Nothing else changes.",
        _shifts(summary["first"]),
        "## Coming back",
        f"The adapter with the bias moved along the mean projection by so many mean lengths, then {ESCAPE_STEPS} steps of the contrastive half alone at lr {ESCAPE_LR:g}: "
        f"how far below the plateau it is. {FALL_STEPS} steps at the constant weight 1 make projections {summary['away']['fall']:.0f} times as long.",
        _escape(summary["away"]),
    ]
    return "\n\n".join(sections) + "\n"
