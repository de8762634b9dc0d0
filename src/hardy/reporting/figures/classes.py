"""Which classes a network takes for which, and which of them give way to the attack."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.arrays import KINDS, confusions
from hardy.reporting.classes import by_class
from hardy.reporting.figures.labels import label_dots
from hardy.reporting.style import BLUE, FAINT, INK, QUIET, WIDTH, drawn
from hardy.reporting.wording import short

MOST_CLASSES = 20  # of which a matrix can still be read
NUMBERED = 12  # and of which its numbers can
WIDE = 3  # so many networks have a row each, more share one
CLASS_NAME = 14


@drawn
def confusion_matrices(results: Results, folder: Path) -> Figure | None:
    """Clean and under the attack, a pair a network: what share of a class (row) is taken for
    which class (column), percent. None for more than 20 classes.

    Raises ValueError where the file of the matrices is damaged.
    """
    classes, found = confusions(results, folder)
    if not found or not 0 < len(classes) <= MOST_CLASSES:
        return None
    pairs = 1 if len(found) <= WIDE else 2
    rows = math.ceil(len(found) / pairs)
    size = WIDTH / (2 * pairs)
    figure = Figure(figsize=(WIDTH, rows * (size + (0.15 if pairs == 1 else 0.4))))
    grid = figure.subplots(rows, 2 * pairs, squeeze=False)
    panels = [(one, kind) for one in found for kind in KINDS]
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for i, (axes, (one, kind)) in enumerate(zip(grid.flat, panels, strict=False)):
        name = short(one.network, 30 // pairs)
        axes.set_title(f"{name}, {kind}" if name else kind, fontsize=9.5 if pairs == 1 else 8)
        _matrix(axes, one.matrices[kind], classes, numbered=pairs == 1, named=i % (2 * pairs) == 0)
    return figure


def _matrix(
    axes: Axes, matrix: np.ndarray, classes: list[str], *, numbered: bool, named: bool
) -> None:
    totals = matrix.sum(1, keepdims=True)
    share = matrix / np.maximum(totals, 1)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = [short(name, CLASS_NAME) for name in classes]
    small = 7.5 if numbered else 6
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=small)
    axes.set_yticks(range(len(names)), names if named else [], fontsize=small)
    if named:
        axes.set_ylabel("true class", fontsize=small)
    axes.set_xlabel("taken for", fontsize=small)
    if not numbered or len(classes) > NUMBERED:
        return
    for row, column in zip(*share.round(2).nonzero(), strict=True):
        axes.text(
            column,
            row,
            f"{100 * share[row, column]:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share[row, column] > 0.5 else INK,
        )


@drawn
def class_scatter(results: Results, folder: Path) -> Figure | None:
    """The accuracy of every class under the attack against its accuracy without, a panel a
    network; the classes that give way most and least are named. None where matrices say more.

    Raises ValueError where the file of the matrices is damaged.
    """
    found = by_class(results)
    if not found or 0 < len(confusions(results, folder)[0]) <= MOST_CLASSES:
        return None
    columns = min(2, len(found))
    rows = math.ceil(len(found) / columns)
    height = 4.4 if columns == 2 else 5
    figure = Figure(figsize=(WIDTH, rows * height))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    named = []
    for axes, (network, of) in zip(grid.flat, found.items(), strict=False):
        dots = {name: (100 * clean.value, 100 * adv.value) for name, (clean, adv) in of.items()}
        axes.plot([0, 100], [0, 100], color=QUIET, linewidth=1)
        axes.scatter(*zip(*dots.values(), strict=True), s=22, color=BLUE, edgecolors="white")
        axes.set_title(short(network, 44))
        axes.set_xlabel("clean accuracy of the class, %", color=FAINT)
        axes.set_ylabel("under the attack, %", color=FAINT)
        # Some room left of 0 and above 100 for dots that lie there.
        axes.set(xlim=(-3, 103), ylim=(-3, 103))
        order = sorted(dots, key=lambda name, dots=dots: dots[name][1])
        low = sorted(dots, key=lambda name, dots=dots: dots[name][0])[:2]
        extremes = dict.fromkeys([*order[:4], *order[-3:], *low])
        named.append((axes, {short(name, 20): dots[name] for name in extremes}, dots.values()))
    label_dots(figure, named, set())
    return figure
