"""Accuracy under corruptions as a map: type by severity, a panel a network."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.corruptions import EXTRA, Corruptions, corruptions
from hardy.reporting.style import INK, WIDTH, drawn
from hardy.reporting.wording import number, short

PANELS = 4  # side by side
LEAST_REACH = 5.0  # points at full colour: noise of a point or two must stay pale
TITLE, APART = 0.95, 0.5  # heights of a family's name and of the gap before the extra ones

Value = Callable[[str, str, int], float | None]


@drawn
def corruption_map(results: Results) -> Figure | None:
    """Accuracy in percent by corruption and severity, families together, the extra four apart;
    and for further networks the difference to the first, in points."""
    found = corruptions(results)
    if found is None:
        return None

    def accuracy(network: str, name: str, severity: int) -> float | None:
        m = found.cells.get((network, name, severity))
        return None if m is None else m.value

    values = [100 * m.value for m in found.cells.values()]
    low, high = 10 * math.floor(min(values) / 10), 10 * math.ceil(max(values) / 10)
    plain = Normalize(low, max(high, low + 10))
    first, *others = found.networks
    gains = [found.gain(network, *cell[1:]) for cell in found.cells for network in others]
    reach = max(LEAST_REACH, *(100 * abs(gain or 0.0) for gain in [0.0, *gains]))
    panels: list[tuple[str, str, Value, Colormap, Normalize]] = [
        (short(network, 24) or "accuracy, %", network, accuracy, _map("Blues"), plain)
        for network in found.networks
    ]
    panels += [
        (
            f"{short(network, 17)}\n− {short(first, 17)}, points",
            network,
            found.gain,
            _map("BrBG"),
            Normalize(-reach, reach),
        )
        for network in others
    ]
    heights, total = _rows(found)
    columns = min(PANELS, len(panels)) if len(panels) != 5 else 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, rows * (0.9 + 0.215 * total)))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, network, value, colours, scale) in zip(grid.flat, panels, strict=False):
        axes.set_title(title, fontsize=8.5)
        _panel(axes, found, heights, network, value, (colours, scale))
    names = list(heights)
    for axes in grid[:, 0]:
        axes.set_yticks([y for y, _ in heights.values()], [n.replace("_", " ") for n in names])
        axes.set_ylim(total, 0)
    return figure


def _rows(found: Corruptions) -> tuple[dict[str, tuple[float, str]], float]:
    """The middle of each corruption's row, from the top, and the family whose name is above it
    (empty where it is not the first); and the height of all."""
    heights: dict[str, tuple[float, str]] = {}
    y = 0.0
    for family, names in found.groups:
        y += APART if family == EXTRA and heights else 0
        y += TITLE
        for i, name in enumerate(names):
            heights[name] = y + 0.5, "" if i else family
            y += 1
    return heights, y


def _panel(
    axes: Axes,
    found: Corruptions,
    heights: dict[str, tuple[float, str]],
    network: str,
    value: Value,
    colour: tuple[Colormap, Normalize],
) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=True)
    colours, scale = colour
    for name, (y, family) in heights.items():
        if family:
            axes.text(-0.45, y - 0.62, family, fontweight="bold", fontsize=8, va="bottom")
        for x, severity in enumerate(found.severities):
            share = value(network, name, severity)
            if share is None:
                axes.text(x, y, "–", ha="center", va="center", fontsize=7.5)
                continue
            ground = colours(scale(100 * share))
            extent = [x - 0.48, x + 0.48, y - 0.46, y + 0.46]
            axes.fill(np.take(extent, [0, 1, 1, 0]), np.take(extent, [2, 2, 3, 3]), color=ground)
            signed = value == found.gain
            axes.text(
                x,
                y,
                number(100 * share, 0, signed=signed),
                ha="center",
                va="center",
                fontsize=7.5,
                color=_legible(ground),
            )
    axes.set_xlim(-0.6, len(found.severities) - 0.4)
    axes.set_xticks(range(len(found.severities)), [str(s) for s in found.severities])
    axes.set_xlabel("severity", fontsize=8)


def _map(name: str) -> Colormap:
    return matplotlib.colormaps[name]


def _legible(ground: tuple[float, float, float, float]) -> str:
    red, green, blue, _ = ground
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
