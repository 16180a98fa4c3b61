"""The results of a study as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.adapters import HEAD_HIDDEN, HIDDEN
from benchmarks.evidence.embedding import BACKBONE
from benchmarks.evidence.measure import NEIGHBOURS
from benchmarks.evidence.pool import GROUPS, SIZE
from benchmarks.evidence.setting import Setting
from benchmarks.evidence.study import CHOSEN_AT
from benchmarks.evidence.summary import OURS, PatchRow, Row
from wsc_ray.bench.markdown import environment, table

HEAD_NAMES = {"mean": "mean pooling and a linear classifier", "abmil": "ABMIL (gated)", "dtfd": "DTFD"}
NAMES = {"frozen": "frozen ImageNet", "supcon": "SupCon", "simclr": "SimCLR", "weaksupcon": "WeakSupCon"}
_HEAD = """\
# When WeakSupCon helps

Adapters on frozen ImageNet features (EfficientNet-Lite0 at {pixels} px, {views} augmented views of each patch), trained on the labels of pseudo-slides
of real patches (PatchCamelyon, cut from Camelyon16), by how much tumour a positive slide holds. PatchCamelyon ships no slide ids: a **pseudo-slide** is {size} patches of one stain
group, in a negative one all normal. All arms see the same slides, patches, views, steps ({steps} of {batch} patches, in {precision}) and network (1280 -> {hidden} -> {width}, head {head} -> 128).
The {train} slides of the pool's part `train`, which share no patch, train encoders and heads; slides of further patches of `train` stop heads. The {test} test slides are of the part `valid`,
whose patches are cut from other slides of Camelyon16.
"""
_OPENINGS = """\
## Openings of `valid`

`valid` is not untouched: this is the fourth time that it is opened. AUROC of ABMIL at 10% tumour each time:

| study | why it was made | WeakSupCon | SimCLR | SupCon | frozen ImageNet |
| --- | --- | --- | --- | --- | --- |
| first, page at commit ea0f346: other candidates, one division of the stain groups, 120 slides of five groups to train on, batches of 256 | | 0.602 | 0.603 | 0.640 | 0.620 |
| second, page at commit 42c75bc: these candidates, one training of each for each of two pairs of held-out groups; Intel Xeon | the first one's result | 0.797 | 0.610 | 0.724 | 0.746 |
| second again, on an AMD EPYC, at commit 626cb21 with `--fractions 0.1,0.2 --folds 2 --choosing 1 --heads 3`; no page | to add 20% tumour | 0.755 | 0.607 | 0.704 | 0.775 |

The two processors chose other settings for SupCon and WeakSupCon (weight 0.1 at temperature 0.1, and weight 1 at temperature 0.5): one training is too few to tell these candidates apart. At 20% tumour the AMD EPYC had
0.877 for WeakSupCon, 0.856 for SimCLR, 0.907 for SupCon and 0.896 for the frozen features. This study has several trainings of each candidate, and nothing else is new.
What was tried before these candidates were written down used the part `train` alone; `--quick`, which only shows that all runs, trains for four steps and tests on `valid`.
"""
_ENCODERS = """\
## Encoders

The command writes every tested encoder to `OUT/encoders/SHARE-ARM-TRAINING`, such as `0.1-weaksupcon-0`, as `wsc-ray pretrain` exports adapters, and the frozen encoder, which they need, to
`OUT/pool/encoder`: {backbone} with the weights of `--weights`, for patches that are resized to {pixels} px. On patches that are held back, as a manifest:

```sh
wsc-ray embed --encoder OUT/pool/encoder --manifest MANIFEST --out features
wsc-ray embed --encoder OUT/encoders/0.1-weaksupcon-0 --features features --out adapted
```
"""


def markdown(summary: Mapping[str, Any], rows: Sequence[Row], patches: Sequence[PatchRow], picture: str) -> str:
    """Return the whole page."""
    options = summary["options"]
    head = _HEAD.format(
        pixels=options["pixels"],
        views=options["views"],
        size=SIZE,
        steps=options["steps"],
        batch=options["batch_size"],
        precision=options["precision"],
        hidden=HIDDEN,
        width=Setting.width,
        head=HEAD_HIDDEN,
        train=2 * options["pairs"],
        test=2 * options["test_pairs"],
    )
    parts = [
        head,
        *results(summary, rows, patches, picture),
        f"## Settings\n\nChosen for each arm among as many candidates, at {CHOSEN_AT:.0%} tumour, by cross-validation in the part `train`: {options['folds']} times two of its {len(GROUPS)} stain groups are "
        f"held out, whose {2 * options['test_pairs']} pseudo-slides judge candidates trained on the slides of the others. Written to `chosen.json` before a patch of `valid` was read. ABMIL's AUROC for each pair of "
        "groups held out:",
        candidates(summary["chosen"]),
        _OPENINGS,
        _ENCODERS.format(backbone=BACKBONE, pixels=options["pixels"]),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def results(summary: Mapping[str, Any], rows: Sequence[Row], patches: Sequence[PatchRow], picture: str) -> list[str]:
    """Return the parts of a page that say where a study ran and what it measured."""
    options = summary["options"]
    seeds = f"{options['seeds']} trainings x {options['heads']} fits"
    return [
        environment(summary)
        + f"\n* Seconds: {summary['seconds']:,.0f} over all trainings, {summary['processes']} at a time on a machine with other work",
        f"![AUROC of ABMIL over the share of tumour patches]({picture})",
        f"## Slides\n\nAUROC over test slides, mean of {seeds}, with the least and the largest mean of a training. Below it WeakSupCon less the others, with "
        "95% intervals over both at once (the frozen features have no training, and one set of fits): test patches, which slides share and which are drawn anew within stain group and label "
        f"({options['resamples']} times), and trainings and fits, drawn with replacement. Slides of redrawn patches hold fewer different ones, which moves the AUROC of some arms, so that an interval need "
        "not lie around its difference, and may even miss it: read one that ends within 0.01 of zero as undecided.",
        *(part for name, title in HEAD_NAMES.items() for part in _of_head([r for r in rows if r.head == name], title)),
        f"## Patches\n\nAUROC for tumour over the patches of `valid`: a ridge regression on patch labels (linear), the share of tumour among the {NEIGHBOURS} "
        "nearest training patches (kNN), and the distance from the centre of negative slides' patches, which needs no patch label:",
        of_patches(patches),
    ]


def _of_head(rows: Sequence[Row], title: str) -> list[str]:
    parts = [
        f"### {title}",
        curve(rows),
        differences(rows),
        f"Balanced accuracy:\n\n{_values(rows, 'balanced_accuracy')}",
    ]
    if rows[0].head != "mean":  # the mean has no attention
        parts.append(
            f"AUROC of the attention for tumour, over the patches of positive test slides:\n\n{_values(rows, 'attention')}"
        )
    return parts


def curve(rows: Sequence[Row]) -> str:
    """Return the table of one head's AUROC by share of tumour and arm."""
    cells = {
        (row.fraction, row.arm): f"{row.auroc:.3f}" + (f" ({row.low:.3f}-{row.high:.3f})" if row.low < row.high else "")
        for row in rows
    }
    return _by_fraction(rows, cells)


def differences(rows: Sequence[Row]) -> str:
    """Return the table of differences between WeakSupCon and each other arm, for one head."""
    cells = {
        (row.fraction, row.arm): "{:+.3f} ({:+.3f} to {:+.3f})".format(*row.difference)
        for row in rows
        if row.difference is not None
    }
    return _by_fraction([row for row in rows if row.arm != OURS], cells, "WeakSupCon less")


def _values(rows: Sequence[Row], name: str) -> str:
    return _by_fraction(rows, {(row.fraction, row.arm): f"{getattr(row, name):.3f}" for row in rows})


def of_patches(rows: Sequence[PatchRow]) -> str:
    """Return the table of AUROC over patches by measure, and of the number of trainings that collapsed."""
    measures = list(rows[0].aurocs)
    lines = [
        [f"{row.fraction:.0%}", NAMES[row.arm], *(f"{row.aurocs[name]:.3f}" for name in measures), str(row.collapsed)]
        for row in rows
    ]
    return table(["tumour patches", "arm", *measures, "collapsed"], lines)


def candidates(chosen: Mapping[str, Any]) -> str:
    """Return the table of the candidates among which settings were chosen."""
    lines = []
    for arm, found in chosen.items():
        best = max(found["candidates"], key=lambda each: sum(each[1]) / len(each[1]))
        for setting, scores in found["candidates"]:
            mark = "chosen" if setting == best[0] else ""
            lines.append([NAMES[arm], setting, ", ".join(f"{score:.3f}" for score in scores), mark])
    return table(["arm", "setting", "AUROC", ""], lines)


def _by_fraction(rows: Sequence[Row], cells: Mapping[tuple[float, str], str], corner: str = "tumour patches") -> str:
    arms = list(dict.fromkeys(row.arm for row in rows))
    fractions = list(dict.fromkeys(row.fraction for row in rows))
    header = [corner, *(NAMES[arm] for arm in arms)]
    return table(header, [[f"{fraction:.0%}", *(cells[fraction, arm] for arm in arms)] for fraction in fractions])


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw AUROC by share of tumour to a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for arm in dict.fromkeys(row.arm for row in rows):
        own = [row for row in rows if row.arm == arm]
        places = [100 * row.fraction for row in own]
        line = axes.plot(places, [row.auroc for row in own], marker="o", label=NAMES[arm])[0]
        axes.fill_between(
            places, [row.low for row in own], [row.high for row in own], alpha=0.15, color=line.get_color()
        )
    axes.set_xscale("log")
    axes.set_xticks([100 * row.fraction for row in rows], [f"{row.fraction:.0%}" for row in rows])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("tumour patches in a positive pseudo-slide")
    axes.set_ylabel("AUROC of ABMIL over test slides")
    axes.legend()
    figure.savefig(path, dpi=110)
