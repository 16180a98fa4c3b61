"""The results of a study of backbones as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.evidence.adapters import HEAD_HIDDEN
from benchmarks.evidence.page import NAMES, results
from benchmarks.evidence.pool import SIZE
from benchmarks.evidence.setting import Setting
from benchmarks.evidence.summary import PatchRow, Row
from wsc_ray.bench.markdown import table

_HEAD = """\
# The same from pixels

[evidence.md](evidence.md) trains adapters of frozen features; here the backbone itself is trained: all of EfficientNet-Lite0, from ImageNet weights, on new views of {pixels} px of each patch at every step.
The pseudo-slides are those of that page: {size} patches of PatchCamelyon each; {train} of the pool's part `train` train encoders and heads, and {test} of the part `valid`, which was cut from other slides of
Camelyon16, test them. All arms see the same slides, patches, views and steps ({steps} of {batch} patches, in {precision}); the projection head is 1280 -> {head} -> 128. The frozen features are those of the ImageNet weights at {pixels} px.

A training is short: {steps} steps of {batch} patches are {epochs:.1f} passes over the training slides, where an adapter of the other page takes 600 steps of 512 patches. It is what two cores carry.
"""
_SETTINGS = """\
## Settings

Nothing was chosen by figures of this page. The temperature and the rule of WeakSupCon's weight are the defaults of recipes, which cross-validation in the part `train` could not tell from other settings for
adapters; the learning rate is the same for all arms. Before, six trainings of 20 to 100 steps on `train` (SimCLR and WeakSupCon, learning rates 0.01 to 0.1) were looked at, to see how long a step takes and
whether features collapse: with a weight that rises to 1 over 30 steps at temperature 0.5 they nearly did (mean cosine 0.985), with the default they did not (0.65).
`valid` was opened four times before this study, for adapters; [evidence.md](evidence.md) tells of each time.
"""
_ENCODERS = """\
## Encoders

The command writes every tested encoder to `OUT/encoders/SHARE-ARM-TRAINING`, such as `0.1-weaksupcon-0`, as `wsc-ray pretrain` does. On patches that are held back, as a manifest:

```sh
wsc-ray embed --encoder OUT/encoders/0.1-weaksupcon-0 --manifest MANIFEST --out features
```
"""


def markdown(summary: Mapping[str, Any], rows: Sequence[Row], patches: Sequence[PatchRow], picture: str) -> str:
    """Return the whole page."""
    options = summary["options"]
    head = _HEAD.format(
        pixels=options["pixels"],
        size=SIZE,
        train=2 * options["pairs"],
        test=2 * options["test_pairs"],
        steps=options["steps"],
        batch=options["batch_size"],
        precision=options["precision"],
        head=HEAD_HIDDEN,
        epochs=options["steps"] * options["batch_size"] / (2 * options["pairs"] * SIZE),
    )
    settings = [[NAMES[arm], str(Setting(**found["setting"]))] for arm, found in summary["chosen"].items()]
    parts = [head, *results(summary, rows, patches, picture), _SETTINGS, table(["arm", "setting"], settings), _ENCODERS]
    return "\n\n".join(part.strip() for part in parts) + "\n"
