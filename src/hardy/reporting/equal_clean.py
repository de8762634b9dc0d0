"""Networks at one clean accuracy: their curves, where each is read, and what that says."""

from __future__ import annotations

from dataclasses import dataclass

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.wording import attack, count, number, percent, points, short

Rows = list[list[str]]
AT_EQUAL = "robust accuracy at equal clean accuracy"


@dataclass(frozen=True)
class Curve:
    """A network's points by ascending α, clean and robust; where it is read and its difference
    to the first network there, None where there is none."""

    network: str
    points: tuple[tuple[Measurement, Measurement], ...]
    reading: Measurement | None
    gain: Measurement | None


def equal_clean(results: Results) -> dict[str, Curve]:
    """The curves by network, in the order in which they were measured; empty without any."""
    robust = {(m.subject, m.setting.get("alpha")): m for m in _at_alpha(results, "robust")}
    found: dict[str, dict[float, tuple[Measurement, Measurement]]] = {}
    for clean in _at_alpha(results, "clean"):
        alpha = clean.setting.get("alpha")
        partner = robust.get((clean.subject, alpha))
        if isinstance(alpha, int | float) and partner is not None:
            found.setdefault(clean.subject, {})[alpha] = (clean, partner)
    readings = {m.subject: m for m in results.select(AT_EQUAL)}
    gains = {m.subject: m for m in results.select(f"{AT_EQUAL} gain")}
    first = next(iter(found), "")
    return {
        network: Curve(
            network,
            tuple(of[alpha] for alpha in sorted(of)),
            readings.get(network),
            gains.get(f"{network} − {first}"),
        )
        for network, of in found.items()
    }


def level(results: Results) -> float | None:
    """The clean accuracy at which the curves are read, a fraction; None without readings."""
    said = (m.setting.get("level") for m in results.select(AT_EQUAL))
    return next((float(value) for value in said if isinstance(value, int | float)), None)


def equal_clean_table(results: Results) -> Rows:
    """Of each network: its own accuracies, where it crosses the level, robust accuracy there
    and the difference to the first network's."""
    found, at = equal_clean(results), level(results)
    if not found or at is None:
        return []
    first = short(next(iter(found)), 40) or "the first"
    head = f"robust accuracy at {number(100 * at)} % clean, %"
    columns = ["own clean accuracy, %", "own robust accuracy, %", "α of the crossing"]
    rows = [["network", "n", *columns, head, f"difference to {first}, points"]]
    for one in found.values():
        clean, robust = one.points[0]
        cells = [count(clean.n), percent(clean), percent(robust)]
        if one.reading is None:
            most = number(100 * max(m.value for m, _ in one.points))
            cells += [f"none: {most} % clean at most", "–", "–"]
        else:
            alpha = one.reading.setting.get("alpha")
            cells += [number(float(alpha or 0)), percent(one.reading)]
            cells += ["–" if one.gain is None else points(one.gain)]
        rows.append([one.network or "the net", *cells])
    return rows


def without_interval(results: Results) -> list[str]:
    """Why numbers of the table have no interval: 'B: the reason'."""
    found = [*results.select(AT_EQUAL), *results.select(f"{AT_EQUAL} gain")]
    return [f"{m.subject}: {m.no_interval}" for m in found if m.interval is None]


def at_equal_clean(results: Results) -> str:
    """'At equal clean accuracy, 84.20 %, B has the most robust accuracy: …', or nothing."""
    found, at = equal_clean(results), level(results)
    read = [one.reading for one in found.values() if one.reading is not None]
    if at is None or len(read) < 2:
        return ""
    place = f"At equal clean accuracy, {number(100 * at)} %,"
    top, second, *_ = sorted(read, key=lambda m: -m.value)
    if top.value == second.value:
        return f"{place} several networks have as much robust accuracy as any: {_said(top)}."
    gain = found[top.subject].gain
    first = short(next(iter(found)), 40)
    more = f", {points(gain)} points over {first}" if gain is not None else ""
    return f"{place} {short(top.subject, 40)} has the most robust accuracy: {_said(top)}{more}."


def _said(m: Measurement) -> str:
    value, _, interval = percent(m).partition(" ")
    how = f"{attack(m.setting)}, one start" if attack(m.setting) else "one start"
    return f"{value} %{f' {interval}' if interval else ''} ({how})"


def _at_alpha(results: Results, kind: str) -> list[Measurement]:
    return list(results.select(f"{kind} accuracy at alpha"))
