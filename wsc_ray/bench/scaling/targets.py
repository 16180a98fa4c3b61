"""What scaling has to reach, judged from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsc_ray.bench.markdown import digits
from wsc_ray.bench.scaling.figures import Figures, efficiency
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN, Verdict

EFFICIENCY = 0.9


def verdicts(
    found: Sequence[Figures], promised: Mapping[tuple[int, int], tuple[int, int]], cores: int | None
) -> list[Verdict]:
    """Every target and whether it is reached.

    Args:
        promised: bytes of the loss and of the gradients that a worker gives to a step's collectives, by global batch
            and workers: see `promise`.
        cores: of this machine that the nodes had; None of a cluster, which is not what the target speaks of.
    """
    weak = {one.setting.workers: one for one in found if one.setting.work == "training" and one.setting.mode == "weak"}
    name = f"weak scaling of training from one worker on one core to two on two: efficiency of {EFFICIENCY} at least"
    if {1, 2} <= set(weak) and cores and cores >= 2:
        reached = efficiency(weak[2], weak[1])
        judged = [Verdict(name, REACHED if reached >= EFFICIENCY else MISSED, digits(reached))]
    else:
        judged = [Verdict(name, UNKNOWN, "")]
    return [*judged, _communication(found, promised)]


def _communication(found: Sequence[Figures], promised: Mapping[tuple[int, int], tuple[int, int]]) -> Verdict:
    name = "communication of a step, as counted, is what the losses and the gradients promise"
    trained = [one for one in found if one.setting.work == "training" and one.setting.workers > 1]
    if not trained:
        return Verdict(name, UNKNOWN, "")
    counted = {(one.setting.batch_size, one.setting.workers): (one.loss_bytes, one.gradient_bytes) for one in trained}
    wrong = [key for key, value in counted.items() if value != promised[key]]
    said = ", ".join(
        f"{w} workers, {b} patches: {counted[b, w][0]:,.0f} + {counted[b, w][1]:,.0f} B" for b, w in counted
    )
    return Verdict(name, MISSED if wrong else REACHED, said)
