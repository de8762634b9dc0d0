"""The points of the interpolation curves, put together from the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardy.evaluation.results import Measurement, Results

# What a clean accuracy on the way says where it stands alone, and that of a refused point.
ALONE, BELOW = "robust accuracy", "below the rule"


@dataclass(frozen=True)
class Point:
    """One α of one candidate; clean and robust are measured on the same split."""

    alpha: float
    clean: Measurement
    robust: Measurement
    chosen: bool


@dataclass(frozen=True)
class Candidate:
    """One fine-tuned net ('layer2.1.conv2, lr 0.001') and its points by ascending α. alone: the
    clean accuracies at those α whose robust accuracy the choice did not need."""

    label: str
    split: str
    points: tuple[Point, ...]
    alone: tuple[Measurement, ...] = ()

    @property
    def open(self) -> list[Measurement]:
        """Those of `alone` that were not found to break the rule: they were not attacked."""
        return [m for m in self.alone if m.setting.get(ALONE) != BELOW]


def candidates(results: Results) -> list[Candidate]:
    """The candidates in the order in which they were measured; empty where there are none."""
    found: dict[tuple[str, str], dict[float, Point]] = {}
    alone: dict[tuple[str, str], list[Measurement]] = {}
    robust = {_place(m): m for m in results.select("robust accuracy") if "alpha" in m.setting}
    for clean in results.select("clean accuracy"):
        alpha, partner = clean.setting.get("alpha"), robust.get(_place(clean))
        if not isinstance(alpha, int | float):
            continue
        if partner is None:
            if ALONE in clean.setting:
                alone.setdefault((clean.subject, clean.split), []).append(clean)
            continue
        chosen = bool(clean.setting.get("chosen") or partner.setting.get("chosen"))
        curve = found.setdefault((clean.subject, clean.split), {})
        curve[alpha] = Point(float(alpha), clean, partner, chosen)
    return [
        Candidate(label, split, tuple(curve[a] for a in sorted(curve)), tuple(alone.get(key, ())))
        for key, curve in found.items()
        for label, split in [key]
    ]


def start_of(curves: Sequence[Candidate]) -> Point | None:
    """α = 0, the net before fine-tuning, which all candidates share."""
    return next((p for curve in curves for p in curve.points if p.alpha == 0), None)


def tolerance(results: Results, start: Point) -> float:
    """The fall of robust accuracy that the rule allows, as a fraction.

    The fact 'tolerance' where the run states it, else the default of RiFT here:
    0.1 points, or one picture where a picture is more than that.
    """
    stated = results.facts.get("tolerance")
    if isinstance(stated, int | float):
        return float(stated)
    return max(0.001, 1 / start.robust.n)


def best(curve: Candidate, floor: float) -> Point | None:
    """The chosen point, or else the most clean accuracy among those not below the floor.

    Of equals the smaller α. None where no point holds the floor, and where one of more clean
    accuracy might, which was not attacked because another candidate had even more.
    """
    allowed = [p for p in curve.points if p.robust.value >= floor - 1e-9]
    chosen = [p for p in curve.points if p.chosen]
    found = next(iter(chosen), max(allowed, key=lambda p: p.clean.value, default=None))
    if found and not found.chosen and any(m.value > found.clean.value for m in curve.open):
        return None
    return found


def _place(m: Measurement) -> tuple[str, str, object]:
    return m.subject, m.split, m.setting.get("alpha")
