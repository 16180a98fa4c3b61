"""The targets of scaling, judged from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsc_ray.bench.markdown import digits
from wsc_ray.bench.scaling.figures import Figures, efficiency
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN, Verdict

EFFICIENCY = 0.9


def verdicts(
    measured: Sequence[Figures], promised: Mapping[tuple[int, int], tuple[int, int]], cores: int | None
) -> list[Verdict]:
    """Return every target, and whether it is reached.

    Args:
        promised: bytes of the loss and of the gradients that a worker should send to a step's collectives, by global batch
            and workers: see `promise`.
        cores: number of this machine's cores for the nodes; None for a cluster, to which the first target does not apply.
    """
    weak = {
        one.setting.workers: one for one in measured if one.setting.work == "training" and one.setting.mode == "weak"
    }
    name = f"weak scaling of training from one worker on one core to two on two: efficiency of at least {EFFICIENCY}"
    if {1, 2} <= set(weak) and cores and cores >= 2:
        reached = efficiency(weak[2], weak[1])
        judged = [Verdict(name, REACHED if reached >= EFFICIENCY else MISSED, digits(reached))]
    else:
        judged = [Verdict(name, UNKNOWN, "")]
    return [*judged, _communication(measured, promised)]


def _communication(measured: Sequence[Figures], promised: Mapping[tuple[int, int], tuple[int, int]]) -> Verdict:
    name = "counted communication of a step equals that expected for the losses and the gradients"
    trained = [one for one in measured if one.setting.work == "training" and one.setting.workers > 1]
    if not trained:
        return Verdict(name, UNKNOWN, "")
    counted = {(one.setting.batch_size, one.setting.workers): (one.loss_bytes, one.gradient_bytes) for one in trained}
    wrong = [key for key, value in counted.items() if value != promised[key]]
    figures = ", ".join(
        f"{w} workers, {b} patches: {counted[b, w][0]:,.0f} + {counted[b, w][1]:,.0f} B" for b, w in counted
    )
    return Verdict(name, MISSED if wrong else REACHED, figures)
