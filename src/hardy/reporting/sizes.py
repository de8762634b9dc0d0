"""What each network costs in use, beside its accuracies."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.wording import count

Rows = list[list[str]]

SIZES = ("parameters", "weights", "operations", "latency")
TITLE = "Size and speed"


def size_table(results: Results) -> Rows:
    """A row a network: parameters, megabytes, F, and how long forward passes take; then each
    network's ratio to the first."""
    found = {m.subject: _of(results, m.subject) for m in results.select("weights")}
    columns = list(dict.fromkeys(name for one in found.values() for name in one))
    if not columns:
        return []
    rows = [["network", *columns]]
    for network, one in found.items():
        rows.append([network or "the net", *(_shown(name, one) for name in columns)])
    (first, before), *others = found.items()
    for network, one in others:
        cells = [_ratio(one.get(name), before.get(name)) for name in columns]
        rows.append([f"{network} ÷ {first}", *cells])
    return rows


def size_caption(results: Results) -> str:
    """What the columns are, and where the time was measured."""
    sizes = dict.fromkeys(str(m.setting.get("image_size")) for m in results.select("operations"))
    said = (
        "Megabytes are those of the saved weights; F is the forward pass of one picture "
        f"({', '.join(sizes)}), a multiply-add counted as two operations."
    )
    timed = next(results.select("latency"), None)
    if timed is None:
        return said
    threads = timed.setting.get("threads")
    on = str(timed.setting.get("device"))
    if isinstance(threads, int):
        on += f" with {count(threads)} thread{'' if threads == 1 else 's'}"
    return f"{said} Times are medians over passes in full precision, on {on}."


def _of(results: Results, network: str) -> dict[str, float]:
    """The columns of one network."""
    found: dict[str, float] = {}
    for name, quantity, unit in (
        ("parameters", "parameters", 1.0),
        ("MB", "weights", 1e6),
        ("F, GFLOP", "operations", 1e9),
    ):
        for m in results.select(quantity, subject=network):
            found[name] = m.value / unit
    for m in results.select("latency", subject=network):
        batch = _batch(m)
        if batch == 1:
            found["one picture, ms"] = 1000 * m.value
        elif m.value:
            found[f"pictures/s in batches of {count(batch)}"] = batch / m.value
    return found


def _batch(m: Measurement) -> int:
    batch = m.setting.get("batch")
    return batch if isinstance(batch, int) else m.n


def _shown(name: str, one: dict[str, float]) -> str:
    value = one.get(name)
    if value is None:
        return "–"
    return count(round(value)) if name == "parameters" else _significant(value)


def _significant(value: float) -> str:
    """Three digits, or all before the point: '0.0938', '11.2', '1,204'."""
    return count(round(value)) if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None, to: float | None) -> str:
    return "–" if value is None or not to else f"{_significant(value / to)}×"
