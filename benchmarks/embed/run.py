"""Checking the options, drawing patches, measuring, printing and saving the tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.embed.forward import BARE, EMBED, contenders, random_encoder
from benchmarks.embed.memory import embed_and_watch
from benchmarks.markdown import spread
from benchmarks.timing import quartiles, ratio, time_rounds
from wsc_ray.bench.environment import commit, describe_machine, unquiet, usable_cores, versions
from wsc_ray.bench.markdown import digits, environment, table
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.patches import DrawnSizes, drawn_manifest
from wsc_ray.bench.verdict import MISSED, REACHED, Verdict, targets
from wsc_ray.errors import UserError
from wsc_ray.files import atomic, write_summary
from wsc_ray.progress import Progress

COMMAND = "benchmarks.embed"
PIXELS, QUICK_PIXELS = 224, 32  # px: side of the patches that are timed, and of the encoder's input
LEAST = 0.95  # of the model's own patches a second
FLAT = 0.10  # how much more memory the driver may take for MANY patches than for FEW
FEW, MANY, QUICK_MANY = 1, 8, 2  # copies of the cohort whose embedding is watched
WATCHED = "resnet10t"  # a small backbone at 32 px, so that many patches take seconds


def measure_embed(
    *,
    out: str | Path,
    backbones: str,
    patches: int,
    rounds: int,
    batch_size: int,
    markdown: str | Path | None,
    quick: bool,
) -> dict[str, Any]:
    """Measure patches a second of embedding and of the model alone, and the driver's memory by number of patches.

    Args:
        out: folder for `summary.json` and the drawn patches, which a later call uses again.
        backbones: names of timm, with commas between them.
        patches: number of patches of a round.
        rounds: in each of which every contender has a turn.
        batch_size: patches of a forward pass.
        markdown: a file for the whole page.
        quick: few and small patches; the figures mean nothing.

    Returns:
        The summary, also in `OUT/summary.json`: `rates` of each backbone, `memory` of each number of patches, `targets`, machine,
        versions, commit, and the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a backbone that timm does not know.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    if min(patches, rounds, batch_size) < 1:
        raise UserError("--patches, --rounds and --batch-size are 1 at least")
    names = [name.strip() for name in backbones.split(",")]
    settings = {"backbones": backbones, "patches": patches, "rounds": rounds, "batch_size": batch_size, "quick": quick}
    state, load, threads = commit(), os.getloadavg()[0], usable_cores()
    torch.set_num_threads(threads)
    side = QUICK_PIXELS if quick else PIXELS
    per_slide = 4 if quick else 32
    with tempfile.TemporaryDirectory(prefix="wsc-ray-bench-") as temporary:
        work = Path(temporary)
        encoders = {name: random_encoder(name, side, work / name) for name in names}
        random_encoder(WATCHED, QUICK_PIXELS, work / "watched")
        memory = [
            embed_and_watch(
                drawn_manifest(folder, DrawnSizes(4 if quick else 64, 8 if quick else 64, QUICK_PIXELS, copies)),
                work / "watched",
                work / f"features-{copies}",
            )
            for copies in (FEW, QUICK_MANY if quick else MANY)
        ]
        timed = drawn_manifest(folder, DrawnSizes(max(2, patches // per_slide - 4), per_slide, side, 1))
        rates = []
        with Progress(COMMAND, len(names), unit="encoders") as progress:
            for name in names:
                count, calls = contenders(timed, encoders[name], work / "timed", batch_size=batch_size, threads=threads)
                time_rounds(calls, 1, dict.fromkeys(calls, 1), lambda: None)  # warms up
                samples = time_rounds(calls, rounds, dict.fromkeys(calls, 1), lambda: None)
                rates.append(
                    {
                        "backbone": name,
                        "patches": count,
                        "seconds": {contender: quartiles(each) for contender, each in samples.items()},
                        "share": ratio(samples[BARE], samples[EMBED]),
                    }
                )
                progress.advance(1, name)
    judged = [] if quick else verdicts(rates, memory)
    notes = ["quick: the figures mean nothing"] if quick else unquiet(load, threads)
    summary = {
        "rates": rates,
        "memory": memory,
        "pixels": side,
        "targets": [one._asdict() for one in judged],
        "machine": describe_machine(threads),
        "versions": versions(("wsc-ray", "torch", "timm", "ray", "simplejpeg", "opencv-python-headless")),
        "commit": state,
        "invocation": invocation(f"python -m {COMMAND}", {"out": out, **settings}, markdown),
        "settings": settings,
        "notes": notes,
        "table": "\n\n".join(
            [_rates(rates), _memory(memory), *([targets(judged)] if judged else []), *notes],
        ),
    }
    if file is not None:
        with atomic(file) as written:
            written.write_text(_page(summary, judged))
    return write_summary(folder, COMMAND, summary)


def verdicts(rates: Sequence[Mapping[str, Any]], memory: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Return whether embedding keeps up with the model, and whether the driver's memory is flat."""
    found = []
    for one in rates:
        share = one["share"]["median"]
        target = f"{one['backbone']}: at least {LEAST:.0%} of the model's own patches a second"
        found.append(Verdict(target, REACHED if share >= LEAST else MISSED, f"{share:.1%}"))
    few, many = memory
    growth = many["peak_mb"] / few["peak_mb"] - 1
    target = f"{many['patches']:,} patches instead of {few['patches']:,}: the driver's memory flat within {FLAT:.0%}"
    return [*found, Verdict(target, REACHED if growth <= FLAT else MISSED, f"{growth:+.1%}")]


def _rates(rates: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in rates:
        cells = []
        for name in (BARE, EMBED):
            took = one["seconds"][name]
            rate = digits(one["patches"] / took["median"])
            cells.append(f"{spread(took['median'], took['q1'], took['q3'])}, {rate} patches/s")
        share = one["share"]
        rows.append([one["backbone"], *cells, f"{share['median']:.1%} ({share['q1']:.1%}-{share['q3']:.1%})"])
    return table(["encoder", BARE, EMBED, "share of the model's rate"], rows)


def _memory(memory: Sequence[Mapping[str, Any]]) -> str:
    rows = [[f"{one['patches']:,}", f"{one['seconds']:.0f} s", f"{one['peak_mb']:,.0f} MB"] for one in memory]
    return table(["patches", "seconds of `wsc-ray embed`", "most memory of the driver"], rows)


def _page(summary: Mapping[str, Any], judged: Sequence[Verdict]) -> str:
    side, settings = summary["pixels"], summary["settings"]
    sections = [
        "# Embedding patches",
        f"Encoders with random weights on drawn JPEG patches of {side} px, {settings['batch_size']} a forward pass, float32 on a CPU. "
        f"`{BARE}` gets pixels that are decoded, normalised and in batches already; `{EMBED}` is what an actor of `wsc-ray embed` does: "
        "it reads the manifest, decodes, encodes and writes each slide's file. Both have the same cores.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        targets(judged) if judged else "None is judged.",
        "## Patches a second",
        "Time is the median (first to third quartile) of interleaved rounds; the share is the median of the rounds' ratios.",
        _rates(summary["rates"]),
        "## Memory of the driver",
        f"The process that was typed, with {WATCHED} at {QUICK_PIXELS} px and one actor. Its memory is nearly all imports and Ray; "
        "features never pass through it.",
        _memory(summary["memory"]),
    ]
    return "\n\n".join(sections) + "\n"
