"""Formatting an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsc_ray.evaluate.report import PREDICTIONS
from wsc_ray.storage import as_path

_WORDS = {"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "brier": "Brier score", "ece": "calibration error"}


def describe(summary: Mapping[str, Any]) -> str:
    """Return the summary of an evaluation, or the plan of a dry run, as text."""
    positive = f" (positive: {summary['positive']})" if summary["positive"] else ""
    lines = [
        f"features  {summary['features']}",
        f"head      {summary['head']}",
        f"measured  {summary['slides']} slides of {summary['patients']} patients, {summary['where']}{positive}",
    ]
    if "metrics" not in summary:
        before = f"opened    {summary['opened_before']} times before"
        return "\n".join([*lines, before, f"out       {summary['out']}"])
    draws, calibrated = summary["bootstrap"], summary["calibrated"]
    per_patient = summary["per_patient"]["metrics"] if summary["per_patient"]["patients"] < summary["slides"] else {}
    columns = {"slides": summary["metrics"], "patients": per_patient}
    if calibrated:
        columns["calibrated on validation slides"] = calibrated["metrics"]
    columns = {name: entries for name, entries in columns.items() if entries}
    lines += [
        "",
        f"{draws['confidence']:.0%} intervals from {draws['samples']:,} draws of patients{_and_members(summary)}",
    ]
    lines += metric_table(columns, summary["metrics"])
    if summary["attention"]:
        lines.append(f"attention AUROC {_cell(summary['attention']['auroc']).strip()}")
    lines += ["", *_matrix(summary["classes"], summary["confusion"])]
    sentences = [*_scatter(summary), *_chosen(summary), *summary["notes"], openings_sentence(summary["ledger"])]
    return "\n".join([*lines, "", *sentences, "", f"predictions  {as_path(summary['out']) / PREDICTIONS}"])


def metric_name(name: str) -> str:
    """Return a metric's name as people write it; a class in it stays as it is."""
    kind, _, label = name.partition("_")
    if kind in ("sensitivity", "specificity") and label:
        return f"{kind} {label}"
    return _WORDS.get(name, name.replace("_", " "))


def _and_members(summary: Mapping[str, Any]) -> str:
    return f" and of {summary['members']['count']} members" if summary["members"]["count"] > 1 else ""


def metric_table(columns: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Return the lines of a table with a row per metric and the given columns."""
    rows = [["", *columns]]
    rows += [[metric_name(name), *(_cell(entries.get(name)) for entries in columns.values())] for name in names]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _matrix(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[str]:
    corner = "true, predicted"
    cell = max(len(str(text)) for text in [*names, *(n for row in matrix for n in row)])
    first = max(len(corner), *(len(name) for name in names))
    return [
        f"{corner:{first}}  " + "  ".join(f"{name:>{cell}}" for name in names),
        *(
            f"{name:{first}}  " + "  ".join(f"{n:>{cell}}" for n in row)
            for name, row in zip(names, matrix, strict=True)
        ),
    ]


def _scatter(summary: Mapping[str, Any]) -> list[str]:
    """Return sentences on the scatter of members and of folds."""
    members, lines = summary["members"], []
    auroc = members["scatter"].get("auroc")
    if auroc:
        folds = ", of those of its fold" if summary["folds"] else ""
        lines.append(
            f"a slide's prediction is the mean of the members{folds}; the AUROC of each of the {members['count']} members alone is {auroc['least']:.3f} to "
            f"{auroc['most']:.3f} (mean {auroc['mean']:.3f}, standard deviation {auroc['sd']:.3f})"
        )
    if summary["folds"]:
        values = [fold["auroc"] for fold in summary["folds"].values() if fold["auroc"] is not None]
        own = f": {min(values):.3f} to {max(values):.3f}" if values else ", which is not defined"
        lines.append(
            f"the {len(summary['folds'])} folds are pooled: each slide is predicted by the members of its own fold, and the figures "
            f"are those of all slides together; ranks across folds compare different fits, so see each fold's own AUROC{own}"
        )
    return lines


def _chosen(summary: Mapping[str, Any]) -> list[str]:
    if not summary["calibrated"]:
        return []
    lines = []
    for choice in summary["calibrated"]["chosen"]:
        was = "was" if choice["threshold"] is None else "were"
        fold = f"fold {choice['fold']}: " if choice["fold"] is not None else ""
        threshold = f" and threshold {choice['threshold']:.3f} (Youden)" if choice["threshold"] is not None else ""
        lines.append(
            f"{fold}temperature {choice['temperature']:.2f}{threshold} {was} chosen on {choice['slides']} validation slides alone"
        )
    return lines


def openings_sentence(ledger: Mapping[str, Any]) -> str:
    """Return a sentence on how often the slides were opened."""
    if ledger["repeat"]:
        this = "the same evaluation again"
    else:
        this = "the first" if ledger["opening"] == 1 else "a new evaluation"
    heads = "1 head" if ledger["heads"] == 1 else f"{ledger['heads']} different heads"
    repeats = f", {ledger['repeats']} of them to repeat an evaluation" if ledger["repeats"] else ""
    times = "once" if ledger["opening"] == 1 else f"{ledger['opening']} times"
    return f"these slides have been opened {times} for {heads}{repeats}; this time: {this} ({ledger['path']})"


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    low, high = _shown(entry["low"]), _shown(entry["high"])
    return f"{_shown(entry['value'])}  {low} - {high}"


def _shown(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.3f}"
