"""Names beside dots, where they cover nothing."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from hardy.reporting.style import INK, ORANGE

Dots = tuple[Axes, dict[str, tuple[float, float]], Iterable[tuple[float, float]]]


def label_dots(figure: Figure, panels: Iterable[Dots], marked: set[str]) -> None:
    """Write names beside dots where they cover nothing; leave out what has no room.

    panels: axes, where each name belongs, and all the dots there, in the data's units. marked:
    the names that stand out.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes, anchors, dots in panels:
        pixels = [axes.transData.transform(dot) for dot in dots]
        taken = [Bbox.from_extents(px - 6, py - 6, px + 6, py + 6) for px, py in pixels]
        _label(axes, anchors, taken, marked, renderer)


def _label(
    axes: Axes,
    anchors: dict[str, tuple[float, float]],
    taken: list[Bbox],
    marked: set[str],
    renderer: RendererAgg,
) -> None:
    inside = axes.get_window_extent(renderer)
    for name, (x, y) in anchors.items():
        for dx, dy, side in (
            (8, 0, "left"),
            (-8, 0, "right"),
            (0, 11, "center"),
            (0, -11, "center"),
        ):
            text: Annotation = axes.annotate(
                name,
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8.5,
                fontweight="bold" if name in marked else "normal",
                color=ORANGE if name in marked else INK,
            )
            box = text.get_window_extent(renderer)
            if not box.count_overlaps(taken) and inside.x0 <= box.x0 and box.x1 <= inside.x1:
                taken.append(box)
                break
            text.remove()
