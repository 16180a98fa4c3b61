"""Formatting the summary of a search, or the plan of a dry run, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.mil.ensemble import MEMBERS
from wsc_ray.mil.head import WEIGHTS
from wsc_ray.storage import as_path


def describe_search(summary: Mapping[str, Any]) -> str:
    """Return the summary of a search, or the plan of a dry run, as text."""
    lines = [f"features    {summary['features']}", f"classes     {', '.join(summary['classes'])}", *_slides(summary)]
    if summary["slides_without_patches"]:
        lines.append(f"left out    {summary['slides_without_patches']} slides without patches")
    lines += [f"note        {note}" for note in summary.get("notes", ())]
    if "trials_done" not in summary:
        done_already = f", {summary['trials_there']} of them done" if summary["trials_there"] else ""
        per_fold = " a fold" if "folds" in summary else ""
        return "\n".join(
            [
                *lines,
                f"trials      {summary['trials']}{per_fold}, {summary['concurrent']} at a time{done_already}",
                f"members     {summary['seeds']}{per_fold}, a seed each",
                f"out         {summary['out']}",
            ]
        )
    note = (
        " (already complete, nothing was run)" if summary.get("already_complete") else f" in {summary['seconds']:g} s"
    )
    out = as_path(summary["out"])
    stopped = f", {summary['trials_stopped']} of them stopped early" if "trials_stopped" in summary else ""
    lines.append(f"trials      {summary['trials_done']}{stopped}{note}")
    for fold, search in summary["searches"].items() if "searches" in summary else [(None, summary)]:
        if fold is not None:
            lines += ["", f"fold {fold}"]
        lines += _result(search)
    if "registered" in summary:
        lines.append(f"registered  {summary['registered']['uri']}")
    return "\n".join([*lines, f"head        {out / (MEMBERS if 'searches' in summary else WEIGHTS)}"])


def _slides(summary: Mapping[str, Any]) -> list[str]:
    slides, patients = summary["slides"], summary["patients"]
    if "folds" in summary:
        folds = ", ".join(f"{fold}: {count}" for fold, count in summary["folds"].items())
        return [
            f"folds       {len(summary['folds'])}, each held out in turn (slides: {folds})",
            f"slides      {slides} of {patients} patients; validation: {summary['validation']}",
        ]
    return [
        f"fitted on   {slides['train']} slides of {patients['train']} patients",
        f"chosen on   {slides['val']} slides of {patients['val']} patients ({summary['validation']})",
    ]


def _result(search: Mapping[str, Any]) -> list[str]:
    best, val, members = search["best"], search["val"], search.get("members", {})
    settings = ", ".join(
        f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in best.items()
        if name not in ("trial", "head")
    )
    lines = [
        f"best        {best['trial']}: {best['head']}, {settings}",
        f"validation  AUROC {val['auroc']:.3f}, balanced accuracy {val['balanced_accuracy']:.3f}, loss {val['loss']:.3f}",
    ]
    if len(members) > 1:
        aurocs = [scores["auroc"] for scores in members.values()]
        lines.append(f"members     {len(members)} seeds, validation AUROC {min(aurocs):.3f} to {max(aurocs):.3f}")
    return lines
