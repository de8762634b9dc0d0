"""Numbers as a reader meets them: percent, points, intervals, the name of an attack."""

from __future__ import annotations

from collections.abc import Mapping

from hardy.evaluation.results import Measurement, Scalar, is_accuracy, is_difference
from hardy.units import as_fraction

STEPS_IN_NAME = ("PGD", "CW-PGD")  # PGD-10 is what the field calls ten steps of it


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
    """A number in its own unit, three significant digits: '0.0213 [0.0189, 0.0240]'; a whole one
    of thousands with all of them."""
    if m.interval is None and abs(m.value) >= 1000 and m.value == int(m.value):
        return count(int(m.value))
    ends = "" if m.interval is None else f" [{m.interval[0]:.3g}, {m.interval[1]:.3g}]"
    return (f"{m.value:.3g}" + ends).replace("-", "−")


def value_of(m: Measurement) -> str:
    """The measurement in the unit of its quantity; a mean over seeds with its spread, and a
    difference with its p: '81.20 ± 0.31 [80.8, 81.6]', '+1.24 [0.4, 2.1], p = 0.003'."""
    if m.quantity == "mean over seeds":
        return _mean(m)
    if is_accuracy(m.quantity):
        return percent(m)
    if not is_difference(m.quantity):
        return plain(m)
    return ", ".join(filter(None, (points(m), p_value(m.setting.get("p")))))


def _mean(m: Measurement) -> str:
    of, std = str(m.setting.get("of")), m.setting.get("std")
    spread = float(std) if isinstance(std, int | float) else None
    if is_accuracy(of) or is_difference(of):
        apart = "" if spread is None else f" ± {number(100 * spread)}"
        return number(100 * m.value, signed=is_difference(of)) + apart + interval_of(m)
    value, bracket, interval = plain(m).partition(" [")
    return value + ("" if spread is None else f" ± {spread:.2g}") + bracket + interval


def p_value(p: Scalar) -> str:
    """'p = 0.003', 'p < 0.001', or nothing where there is none."""
    if not isinstance(p, int | float):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


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
    name, steps = str(setting.get("attack") or ""), setting.get("steps")
    counted = name in STEPS_IN_NAME and steps
    parts = [f"{name}-{steps}" if counted else name]
    parts += [radius(setting.get("norm"), setting.get("eps"))]
    if steps and not counted and name != "FGSM":
        parts += [f"{steps} steps"]
    queries, restarts = setting.get("queries"), _restarts(setting)
    if isinstance(queries, int):
        parts += [f"{count(queries)} queries"]
    if restarts > 1:
        parts += [f"worst of {restarts}"]
    if setting.get("package"):
        parts += [f"by {setting['package']}"]
    return ", ".join(filter(None, parts))


def _restarts(setting: Mapping[str, Scalar]) -> int:
    restarts, name = setting.get("restarts"), setting.get("attack")
    if isinstance(restarts, int):
        return restarts
    # Of an ensemble of one attack: 'Square × 3' runs. The targets of APGD-T are no restarts.
    stage, _, runs = str(setting.get("runs") or "").partition(" × ")
    targeted = stage in ("APGD-T", "FAB-T")
    return int(runs) if stage == name and runs.isdecimal() and not targeted else 1


def short(text: str, most: int) -> str:
    """At most so many characters, cut in the middle: labels that are paths differ at both ends."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"
