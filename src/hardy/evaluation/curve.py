"""Robust accuracy over the radius: how fast a network gives way, and whether it does at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from hardy.attacks.active_set import STANDS, Stage, cascade
from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import accuracy
from hardy.modes import Forward


def radii(eps: float, points: int) -> list[float]:
    """As many radii from 0 to 2 eps, equally far apart; eps is one of an odd number of them.

    Raises ValueError where points is below 2.
    """
    if points < 2:
        raise ValueError(f"a curve needs at least 2 points, not {points}")
    return [2 * eps * i / (points - 1) for i in range(points)]


def at_radius(attack: PGD, eps: float) -> PGD:
    """The same attack at another radius: its step keeps its share of the radius."""
    threat = attack.threat
    share = attack.step / threat.eps
    return replace(attack, threat=type(threat)(eps), step_size=share * eps)


def standing_at(
    forward: Forward,
    attack: PGD,
    split: Split,
    standing: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 256,
    judge: Forward | None = None,
    on_pictures: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Which of the examples that stand withstand one run of the attack, bool (N,).

    standing: those that withstood every smaller radius. What breaks an example there lies in
    this ball too, so the curve never rises, and only the others are attacked.
    """
    by = cascade(
        forward,
        [Stage(attack.name, (attack,))],
        split,
        standing,
        seed=seed,
        batch_size=batch_size,
        judge=judge,
        on_batch=lambda now: on_pictures(now.attacked),
    )
    return by == STANDS


def curve(
    standing: Sequence[tuple[float, Tensor]],
    split: str,
    subject: str,
    setting: Callable[[float], dict[str, Scalar]],
) -> list[Measurement]:
    """Robust accuracy at each radius, with Wilson intervals. standing: radii, and who stands at
    each, bool (N,). setting: what a measurement at a radius must say."""
    return [
        accuracy("robust accuracy at radius", stands, split, subject, setting(eps))
        for eps, stands in standing
    ]
