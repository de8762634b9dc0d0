"""The pictures that break: what breaks them for each network, and what it then takes them for."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.arrays import Broken, broken
from hardy.reporting.figures.thumbnails import (
    AMPLIFIED,
    RIGHT,
    amplified,
    empty,
    picture,
    true_class,
    verdict,
)
from hardy.reporting.style import FAINT, WIDTH, drawn
from hardy.reporting.wording import short

BROKEN_SHOWN = 8


@drawn
def broken_pictures(results: Results, folder: Path) -> Figure | None:
    """A column a picture: clean, then for each network what breaks it and the difference,
    amplified; a network that withstands shows nothing but that.

    Raises ValueError where the file of pictures is damaged.
    """
    held = broken(results, folder)
    if held is None or not len(held[0]) or not held[3]:
        return None
    clean, labels, classes, of = held
    columns = min(len(clean), BROKEN_SHOWN)
    rows = 1 + 2 * len(of)
    figure = Figure(figsize=(WIDTH, 0.3 + 1.14 * rows), layout="compressed")
    grid = figure.subplots(rows, BROKEN_SHOWN, squeeze=False)
    for axes in grid.flat:
        empty(axes)
    grid[0, 0].set_ylabel("clean", fontsize=8)
    for column in range(columns):
        picture(grid[0, column], clean[column])
        true_class(grid[0, column], classes, int(labels[column]))
    for n, one in enumerate(of):
        attacked, added = grid[1 + 2 * n], grid[2 + 2 * n]
        attacked[0].set_ylabel(short(one.network, 20) or "attacked", fontsize=8)
        added[0].set_ylabel(f"difference × {AMPLIFIED}", fontsize=8)
        difference = amplified(clean, one.adversarial)
        for column in range(columns):
            _of_network(attacked[column], one, column, classes, int(labels[column]))
            if one.broken[column]:
                picture(added[column], difference[column])
    return figure


def _of_network(axes: Axes, one: Broken, column: int, classes: list[str], label: int) -> None:
    if one.broken[column]:
        picture(axes, one.adversarial[column])
        verdict(axes, classes, label, [("", int(one.adversarial_class[column]))])
    elif one.clean_class[column] == label:
        _instead(axes, "stands", RIGHT)
    else:
        _instead(axes, "wrong already", FAINT)
        verdict(axes, classes, label, [("clean ", int(one.clean_class[column]))])


def _instead(axes: Axes, text: str, colour: str) -> None:
    axes.set_box_aspect(1)
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=8,
        color=colour,
    )
