"""Numbers as a reader meets them: percent, points, intervals, the name of an attack."""

from __future__ import annotations

from collections.abc import Mapping

from hardy.evaluation.results import Measurement, Scalar
from hardy.units import as_fraction

PERCENT = ("clean accuracy", "robust accuracy")
POINTS = ("clean accuracy gain", "robust accuracy gain", "robust accuracy drop")


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """A fixed number of decimals with a real minus sign; what rounds to zero has no sign."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return text.lstrip("-")
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def interval_of(m: Measurement) -> str:
    """' [80.9, 83.6]' in percent or points, or nothing where there is no interval.

    One decimal, but two where one would hide the width or on which side of zero an end lies.
    """
    if m.interval is None:
        return ""
    low, high = (100 * end for end in m.interval)
    fine = high - low < 0.5 or any(0 < abs(end) < 0.05 for end in (low, high))
    digits = 2 if fine else 1
    return f" [{number(low, digits)}, {number(high, digits)}]"


def percent(m: Measurement) -> str:
    """An accuracy: '82.31 [80.9, 83.6]'."""
    return number(100 * m.value) + interval_of(m)


def points(m: Measurement) -> str:
    """A difference of accuracies: '+1.24 [0.4, 2.1]'."""
    return number(100 * m.value, signed=True) + interval_of(m)


def plain(m: Measurement) -> str:
    """A number in its own unit, three significant digits: '0.0213 [0.0189, 0.0240]'."""
    ends = "" if m.interval is None else f" [{m.interval[0]:.3g}, {m.interval[1]:.3g}]"
    return (f"{m.value:.3g}" + ends).replace("-", "−")


def value_of(m: Measurement) -> str:
    """The measurement in the unit of its quantity."""
    if m.quantity in PERCENT:
        return percent(m)
    return points(m) if m.quantity in POINTS else plain(m)


def count(n: int) -> str:
    """10,000"""
    return f"{n:,}"


def radius(norm: Scalar, eps: Scalar) -> str:
    """'Linf 8/255', 'L2 0.5': multiples of 1/255 as fractions, for pixels come in those."""
    name = {"linf": "Linf", "l2": "L2"}.get(str(norm), str(norm or "")).strip()
    if not isinstance(eps, int | float):
        return name
    return f"{name} {as_fraction(eps)}".strip()


def attack(setting: Mapping[str, Scalar]) -> str:
    """What a robust accuracy was measured against: 'PGD-10, Linf 8/255, worst of 3'."""
    name, steps = setting.get("attack"), setting.get("steps")
    counted = name == "PGD" and steps
    parts = [f"PGD-{steps}" if counted else str(name or "")]
    parts += [radius(setting.get("norm"), setting.get("eps"))]
    if steps and not counted:
        parts += [f"{steps} steps"]
    restarts = setting.get("restarts")
    if isinstance(restarts, int) and restarts > 1:
        parts += [f"worst of {restarts}"]
    return ", ".join(filter(None, parts))
