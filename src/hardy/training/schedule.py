"""Learning-rate schedules as functions of the step: stateless, so resuming is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

KINDS = ("constant", "multistep", "cosine", "onecycle", "triangular")


def factor(
    kind: str, step: int, steps_per_epoch: int, epochs: int, milestones: Sequence[int] = ()
) -> float:
    """What the learning rate is multiplied by at an optimizer step (counted from 0).

    multistep: times 0.1 from each milestone (an epoch) on; without milestones at half and
    three quarters, as Rice et al. 2020, but never in the first epoch. cosine: half a wave
    from 1 to 0. onecycle: a straight line from 0 to 1 over the first 40 % of the steps and
    back to 0. triangular: a straight line from 0 up to 1 at half of the steps and back to 0
    (Wong et al. 2020).

    Raises ValueError for another kind.
    """
    done = step / max(1, steps_per_epoch * epochs)
    if kind == "constant":
        return 1.0
    if kind == "multistep":
        marks = milestones or (max(1, epochs // 2), max(1, epochs * 3 // 4))
        return 0.1 ** sum(step >= mark * steps_per_epoch for mark in marks)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if kind == "onecycle":
        middle = (step + 0.5) / max(1, steps_per_epoch * epochs)
        return middle / 0.4 if middle < 0.4 else (1 - middle) / 0.6
    if kind == "triangular":
        return 1 - abs(2 * done - 1)
    raise ValueError(f"schedule must be one of {', '.join(KINDS)}, not {kind!r}")
