"""Robust against clean accuracy of several networks, each on its way to clean weights."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from hardy.evaluation.results import Results
from hardy.reporting.equal_clean import equal_clean, level
from hardy.reporting.style import INK, WIDTH, drawn, legend_columns, series
from hardy.reporting.wording import number, short


@drawn
def equal_clean_curves(results: Results) -> Figure | None:
    """A curve a network with a mark for each α, the largest for α = 0; the level as a dashed
    line, and where the curves cross it rings with 95 % intervals."""
    found, at = equal_clean(results), level(results)
    if not found or at is None:
        return None
    figure = Figure(figsize=(WIDTH, 4.4 + 0.2 * (len(found) // legend_columns(found))))
    axes = figure.subplots()
    axes.axvline(100 * at, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for index, one in enumerate(found.values()):
        style = series(index)
        marker, colour = style.pop("marker"), style["color"]
        x, y = ([100 * pair[side].value for pair in one.points] for side in (0, 1))
        axes.plot(x, y, linewidth=1.3, alpha=0.8, **style)
        axes.scatter(x[1:], y[1:], s=14, color=colour, marker=marker, zorder=3)
        axes.scatter(x[0], y[0], s=60, color=colour, marker=marker, zorder=4)
        axes.plot([], [], marker=marker, label=short(one.network, 40) or "the net", **style)
        if one.reading is not None:
            ring = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.8}
            axes.plot(100 * at, 100 * one.reading.value, "o", markersize=14, zorder=5, **ring)
            # Side by side, so that the intervals of several networks can be told apart.
            aside = (index - (len(found) - 1) / 2) / 14
            moved = axes.transData + ScaledTranslation(aside, 0, figure.dpi_scale_trans)
            ends = [100 * end for end in one.reading.interval or ()]
            axes.plot([100 * at] * len(ends), ends, "-_", color=colour, transform=moved, zorder=2)
    axes.annotate(
        f"{number(100 * at)} % clean",
        (100 * at, 0.01),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
    )
    axes.set_xlabel("clean accuracy, %")
    axes.set_ylabel("robust accuracy, %")
    axes.margins(0.07, 0.1)
    figure.legend(loc="outside lower center", ncols=legend_columns(found))
    return figure
