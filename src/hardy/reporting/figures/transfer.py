"""Transfer between networks as a heat map, a panel an attack."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.style import INK, ORANGE, WIDTH, drawn
from hardy.reporting.transfer import Matrix, matrices
from hardy.reporting.wording import number, short

NAME = 22  # characters of a network's name
ROOM = 2.3  # inches for the names at the left, and beside the last column
LARGEST = 0.95  # of a cell, inches


@drawn
def transfer_map(results: Results) -> Figure | None:
    """Success in percent: a row a surrogate, a column a target; white boxes are framed."""
    found = matrices(results)
    if not found:
        return None
    sides = [min(LARGEST, (WIDTH - ROOM) / len(matrix.targets)) for matrix in found]
    heights = [
        side * 0.62 * len(matrix.surrogates) + 1.35
        for side, matrix in zip(sides, found, strict=True)
    ]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    grid = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)
    for axes, matrix, side in zip(grid.flat, found, sides, strict=True):
        axes.set_title(matrix.attack)
        _panel(axes, matrix, small=side < 0.6)
    return figure


def _panel(axes: Axes, matrix: Matrix, *, small: bool) -> None:
    surrogates, targets = matrix.surrogates, matrix.targets
    values = np.full((len(surrogates), len(targets)), np.nan)
    for (surrogate, target), m in matrix.cells.items():
        values[surrogates.index(surrogate), targets.index(target)] = 100 * m.value
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.imshow(values, cmap=matplotlib.colormaps["Blues"], vmin=0, vmax=100, aspect=0.62)
    for row, surrogate in enumerate(surrogates):
        for column, target in enumerate(targets):
            value = values[row, column]
            known = not np.isnan(value)
            axes.text(
                column,
                row,
                number(value, 0 if small else 1) if known else "–",
                ha="center",
                va="center",
                fontsize=7.5 if small else 9,
                color="white" if known and value > 55 else INK,
            )
            if surrogate == target:
                box = [column - 0.47, column + 0.47], [row - 0.44, row + 0.44]
                xs, ys = np.take(box[0], [0, 1, 1, 0, 0]), np.take(box[1], [0, 0, 1, 1, 0])
                axes.plot(xs, ys, color=ORANGE, linewidth=1.6)
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(targets) > 3 else {}
    axes.set_xticks(range(len(targets)), [short(name, NAME) for name in targets], **turned)
    axes.set_yticks(range(len(surrogates)), [short(name, NAME) for name in surrogates])
    axes.set_xlabel("target")
    axes.set_ylabel("surrogate")
