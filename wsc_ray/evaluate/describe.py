"""An evaluation for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsc_ray.evaluate.report import PREDICTIONS
from wsc_ray.storage import as_path

_WORDS = {"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "brier": "Brier score", "ece": "calibration error"}


def describe(summary: Mapping[str, Any]) -> str:
    """A summary, or the plan of a dry run."""
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
    lines += _table(columns, summary["metrics"])
    if summary["attention"]:
        lines.append(f"attention AUROC {_cell(summary['attention']['auroc']).strip()}")
    lines += ["", *_matrix(summary["classes"], summary["confusion"])]
    sentences = [*_scatter(summary), *_chosen(summary), *summary["notes"], _openings(summary["ledger"])]
    return "\n".join([*lines, "", *sentences, "", f"predictions  {as_path(summary['out']) / PREDICTIONS}"])


def metric_name(name: str) -> str:
    """A metric as people write it."""
    return _WORDS.get(name, name.replace("_", " "))


def _and_members(summary: Mapping[str, Any]) -> str:
    return f" and of {summary['members']['count']} members" if summary["members"]["count"] > 1 else ""


def _table(columns: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Metrics down, what they are of across."""
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
    """How far members and folds scatter, in sentences."""
    members, lines = summary["members"], []
    found = members["scatter"].get("auroc")
    if found:
        lines.append(
            f"each figure is of the mean of {members['count']} members; one by one their AUROC is {found['least']:.3f} to "
            f"{found['most']:.3f} (mean {found['mean']:.3f}, standard deviation {found['sd']:.3f})"
        )
    if summary["folds"]:
        values = [fold["auroc"] for fold in summary["folds"].values() if fold["auroc"] is not None]
        own = f": {min(values):.3f} to {max(values):.3f}" if values else ", which is not defined"
        lines.append(
            f"the {len(summary['folds'])} folds are pooled: each slide is predicted by the members of its own fold, and figures "
            f"are of all slides together; ranks across folds compare different fits, so see each fold's own AUROC{own}"
        )
    return lines


def _chosen(summary: Mapping[str, Any]) -> list[str]:
    if not summary["calibrated"]:
        return []
    lines = []
    for each in summary["calibrated"]["chosen"]:
        fold = f"fold {each['fold']}: " if each["fold"] is not None else ""
        threshold = f" and threshold {each['threshold']:.3f} (Youden)" if each["threshold"] is not None else ""
        lines.append(
            f"{fold}temperature {each['temperature']:.2f}{threshold} are of {each['slides']} validation slides alone"
        )
    return lines


def _openings(ledger: Mapping[str, Any]) -> str:
    """How often the slides were looked at, in a sentence."""
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
