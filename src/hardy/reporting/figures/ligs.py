"""LIGS picture by picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.ligs import cosines
from hardy.reporting.style import WIDTH, drawn, legend_columns, series
from hardy.reporting.wording import short

BINS = 40


@drawn
def ligs_histogram(results: Results, folder: Path) -> Figure | None:
    """The share of pictures by their cosine, an outline a network, the mean dashed.

    Raises ValueError where the file of the cosines is damaged.
    """
    found = cosines(results, folder)
    if not found:
        return None
    # From a full tenth on that leaves no picture out.
    low = np.floor(10 * min(float(values.min()) for values in found.values())) / 10
    edges = np.linspace(min(low, 0.9), 1.0, BINS + 1)
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    for index, (network, values) in enumerate(found.items()):
        look = series(index)
        colour = look["color"]
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        label = short(network, 40) or "the net"
        axes.stairs(shares, edges, color=colour, linestyle=look["linestyle"], linewidth=1.6)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.12)
        axes.axvline(float(values.mean()), color=colour, linestyle="--", linewidth=1.1)
        axes.plot([], [], color=colour, linestyle=look["linestyle"], label=label)
    axes.set_xlim(edges[0], 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("cosine of the gradients at the picture and close by")
    axes.set_ylabel("pictures, %")
    figure.legend(loc="outside lower center", ncols=legend_columns(found))
    return figure
