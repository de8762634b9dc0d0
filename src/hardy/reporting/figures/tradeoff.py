"""Robust against clean accuracy along the way to the fine-tuned weights."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.candidates import Candidate, candidates, start_of, tolerance
from hardy.reporting.style import INK, MARKERS, SERIES, WIDTH, drawn
from hardy.reporting.wording import number


@drawn
def tradeoff(results: Results) -> Figure | None:
    """Robust against clean accuracy along α, with the start, the choice and the rule's floor."""
    curves = candidates(results)
    start = start_of(curves)
    if start is None:
        return None
    rows = math.ceil(len(curves) / 2)
    figure = Figure(figsize=(WIDTH, 4.6 + 0.22 * rows))
    axes = figure.subplots()
    for index, curve in enumerate(curves):
        _curve(axes, curve, SERIES[index % 6], MARKERS[(index + index // 6) % 6])
    allowed = tolerance(results, start)
    axes.axhline(
        100 * (start.robust.value - allowed), color=INK, linewidth=1, linestyle=(0, (4, 3))
    )
    axes.annotate(
        f"floor of the rule: start − {number(100 * allowed)} points",
        (0.01, 100 * (start.robust.value - allowed)),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, -4),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=8.5,
        color=INK,
    )
    here = (100 * start.clean.value, 100 * start.robust.value)
    axes.plot(*here, marker="*", markersize=15, color=INK, markeredgecolor="white", zorder=5)
    _say(axes, "start", here, (0, 13))
    for point in (p for curve in curves for p in curve.points if p.chosen):
        here = (100 * point.clean.value, 100 * point.robust.value)
        axes.plot(*here, "o", markersize=14, markerfacecolor="none", markeredgecolor=INK, zorder=6)
        _say(axes, f"chosen, α = {point.alpha:g}", here, (14, 15))
    axes.set_xlabel("clean accuracy, %")
    axes.set_ylabel("robust accuracy, %")
    axes.margins(0.07, 0.1)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _curve(axes: Axes, curve: Candidate, colour: str, marker: str) -> None:
    x = [100 * p.clean.value for p in curve.points]
    y = [100 * p.robust.value for p in curve.points]
    axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.8)
    # The marker grows with α, so that the eye sees which way the curve runs.
    sizes = [10 + 40 * p.alpha for p in curve.points]
    axes.scatter(x, y, s=sizes, color=colour, marker=marker, label=curve.label, zorder=3)
    alone = [100 * m.value for m in curve.alone]
    place = axes.get_xaxis_transform()
    axes.plot(alone, [0.02] * len(alone), "|", color=colour, markersize=9, transform=place)


def _say(axes: Axes, text: str, where: tuple[float, float], offset: tuple[float, float]) -> None:
    axes.annotate(
        text,
        where,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
