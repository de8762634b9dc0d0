"""The point that the rule of `interpolate.choose` takes, with no more attacks than it needs.

The rule takes the most accurate point among those that keep robust accuracy. Clean accuracy
costs one forward pass a picture and the attack of ten steps more than twenty, so

    measure clean accuracy at every alpha
    for alpha by falling clean accuracy, of equals the nearer to the start first:
        stop where it is no more than that of the best point so far
        attack the pictures, those first that earlier points lost
            until so many are broken that robust accuracy cannot be kept: the point is refused
        stop where it is kept: this is the point

No order of the curve is assumed: what is not attacked could not have been chosen, whatever came
out. So the choice is that of the full grid, on grids as fine as one likes. The attack starts from
the same random numbers, which belong to the picture; only the batches have other neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from hardy.attacks.active_set import STANDS
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts, judge, rightly
from hardy.evaluation.steps import Steps
from hardy.finetuning.interpolate import Point, lowest, on_the_way
from hardy.modes import evaluating, without_tf32


@dataclass(frozen=True)
class Rule:
    """What a point must meet to be chosen: its robust accuracy is no further below the start's
    than the tolerance (a fraction), and more than `best` pictures are rightly classified."""

    start: Point
    tolerance: float
    best: int

    @property
    def lowest(self) -> int:
        """The pictures that it must classify rightly under attack."""
        return lowest(self.start, self.tolerance)


@dataclass(frozen=True)
class Unjudged:
    """One alpha of which robust accuracy is not known. right: who is rightly classified on the
    picture, bool (N,). refused: robust accuracy is lower than the rule allows, by an attack that
    was not carried to its end; False: there was no attack, for the point could not be chosen."""

    alpha: float
    right: Tensor
    refused: bool

    @property
    def clean(self) -> int:
        return int(self.right.sum())


# At an alpha, of the pictures in this order: who is right and who withstands the attack, or may
# do so where it was given up, which the second value says.
Attacked = Callable[[float, Tensor], tuple[Verdicts, bool]]


def decide(
    right: Mapping[float, Tensor], attacked: Attacked, rule: Rule
) -> tuple[list[Point], list[Unjudged]]:
    """The points whose robust accuracy was measured, of which one at most meets the rule, and
    the others, both by alpha.

    right: by alpha who is rightly classified on the picture, bool (N,). attacked: called at as
    few alphas as the rule needs.
    """
    clean = {alpha: int(one.sum()) for alpha, one in right.items()}
    points: list[Point] = []
    refused: set[float] = set()
    lost = (~rule.start.verdicts.robust).long()
    for alpha in sorted(right, key=lambda alpha: (-clean[alpha], alpha)):
        if clean[alpha] <= rule.best:
            break
        if clean[alpha] < rule.lowest:  # robust accuracy is never above clean accuracy
            refused.add(alpha)
            continue
        verdicts, given_up = attacked(alpha, lost.argsort(descending=True, stable=True))
        if given_up:
            refused.add(alpha)
        else:
            points.append(Point(alpha, verdicts))
            if points[-1].robust >= rule.lowest:
                break
        lost += ~verdicts.robust
    judged = {point.alpha for point in points}
    others = [Unjudged(a, right[a], a in refused) for a in sorted(right) if a not in judged]
    return sorted(points, key=lambda point: point.alpha), others


def clean_path(
    model: nn.Module,
    end: Mapping[str, Tensor],
    alphas: Sequence[float],
    split: Split,
    batch_size: int,
    steps: Steps,
    label: str,
) -> dict[float, Tensor]:
    """By alpha who is rightly classified on the picture, bool (N,) on the CPU."""

    def measured(alpha: float) -> Tensor:
        with on_the_way(model, end, alpha), evaluating(model), without_tf32():
            return rightly(model, split, batch_size).to(torch.uint8)

    return {
        alpha: steps.tensor(f"{label} α={alpha:g} clean", partial(measured, alpha)).bool()
        for alpha in alphas
    }


def deciding_path(
    model: nn.Module,
    end: Mapping[str, Tensor],
    alphas: Sequence[float],
    split: Split,
    protocol: Protocol,
    rule: Rule,
    steps: Steps,
    label: str = "",
) -> tuple[list[Point], list[Unjudged]]:
    """As `decide`, for the points alpha (in (0, 1]) on the way from the model's weights to
    `end`, which holds the entries that changed; the model keeps its own weights. What is
    finished is kept in `steps`."""
    right = clean_path(model, end, alphas, split, protocol.batch_size, steps, label)

    runs = sum(len(stage.runs) for stage in protocol.stages)

    def attacked(alpha: float, order: Tensor) -> tuple[Verdicts, bool]:
        name = f"{label} α={alpha:g}"
        if kept := steps.tensors(f"{name} refused"):
            return Verdicts(right[alpha], kept["standing"].bool()), True
        back, here = order.argsort(), split.take(order.to(split.device))

        def verdicts() -> Verdicts:
            with on_the_way(model, end, alpha):
                found = judge(model, here, protocol, name, _GivingUp(rule.lowest, runs))
            return Verdicts(right[alpha], found.robust[back] & right[alpha])

        try:
            return steps.verdicts(name, verdicts), False
        except _RefusedError as refused:
            standing = refused.standing[back]
            steps.keep_tensors(f"{name} refused", {"standing": standing.to(torch.uint8)})
            return Verdicts(right[alpha], standing), True

    return decide(right, attacked, rule)


class _RefusedError(Exception):
    """Robust accuracy cannot come up to what was asked. standing: those not yet broken."""

    def __init__(self, standing: Tensor) -> None:
        self.standing = standing


@dataclass(frozen=True)
class _GivingUp:
    """Ends a cascade after the batch that leaves too few standing, if there are any batches
    after it; keeps nothing."""

    lowest: int
    runs: int

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Tensor]) -> None:
        run, done = state["at"].tolist()
        last = run == self.runs - 1 and done == len(state["rows"])
        standing = state["by"] == STANDS
        if not last and int(standing.sum()) < self.lowest:
            raise _RefusedError(standing.cpu())
