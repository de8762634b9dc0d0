"""What a run would cost, as rows of text drawn from the results of a dry run."""

from __future__ import annotations

from hardy.evaluation.results import Results
from hardy.reporting.wording import count

Rows = list[list[str]]


def estimate_table(results: Results) -> Rows:
    """Each quantity in the unit that a reader takes it in, and how it came about."""
    rows = [["what", "value", "how"]]

    def add(what: str, quantity: str, subject: str, text: str) -> None:
        m = results.one(quantity, subject=subject)
        rows.append([what, text, m.no_interval])

    def value(quantity: str, subject: str) -> float:
        return results.one(quantity, subject=subject).value

    trained = count(int(value("parameters", "trainable")))
    every = count(int(value("parameters", "all")))
    add("parameters", "parameters", "all", f"{every}, {trained} of them trained")
    forward = scaled(value("operations", "forward"))
    add("forward pass of a picture, F", "operations", "forward", f"{forward}FLOP")
    step = results.one("operations", subject="step")
    batch = value("operations", "batch") / 1e12
    text = f"{step.setting['forwards']:.2f} F a picture, {batch:.4g} TFLOP"
    add("training step", "operations", "step", text)
    steps = [count(int(value("steps", of))) for of in ("epoch", "run")]
    add("steps", "steps", "run", f"{steps[0]} an epoch, {steps[1]} in all")
    for m in results.select("memory"):
        rows.append([f"memory: {m.subject}", in_bytes(m.value), m.no_interval])
    for m in results.select("seconds"):
        rows.append([f"time: {m.subject}", duration(m.value), m.no_interval])
    rate = results.one("operations per second", subject="step")
    share = f"{100 * float(rate.setting['share'] or 0):.0f} % of a matrix product here"
    rows.append(["operations", f"{scaled(rate.value)}FLOP/s, {share}", rate.no_interval])
    return rows


def scaled(value: float) -> str:
    """'1.11 G': three digits and a power of a thousand."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.4g} P"


def in_bytes(value: float) -> str:
    """'42.6 MiB'"""
    for unit in ("B", "KiB", "MiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def duration(seconds: float) -> str:
    """'0.0123 s', '2 min 5 s', '7 h 12 min', '3 d 4 h': the two largest units."""
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount or parts:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])
