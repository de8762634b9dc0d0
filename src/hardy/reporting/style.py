"""How every figure looks, and how it becomes bytes that are the same on every run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every kind of colour vision; its yellow is too pale.
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER)
MARKERS = "osD^vP"
INK, FAINT, QUIET = "#222222", "#666666", "#8FA3B0"

WIDTH = 9.0  # inches; the page shows a figure at most this wide
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the glyphs are the same everywhere
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a class called '$x$' is a name, no formula
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "hardy",
}

LINES = ("-", "--", ":")

P = ParamSpec("P")


@contextmanager
def styled() -> Iterator[None]:
    """The house style alone, whatever a matplotlibrc of the user says; the caller's is restored."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def drawn(function: Callable[P, Figure | None]) -> Callable[P, Figure | None]:
    """A function that draws, in the house style."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure | None:
        with styled():
            return function(*args, **kwargs)

    return inner


def series(index: int) -> dict[str, Any]:
    """Colour, marker and line of the index-th of up to 18 networks, no two alike."""
    turn = index // len(SERIES)
    return {
        "color": SERIES[index % len(SERIES)],
        "marker": MARKERS[(index + turn) % len(MARKERS)],
        "linestyle": LINES[turn % len(LINES)],
    }


def legend_columns(labels: Iterable[str]) -> int:
    """How many columns of a legend fit side by side, from 1 to 4."""
    longest = max((min(len(label), 40) for label in labels), default=0)
    return max(1, min(4, 110 // (longest + 6)))


def svg(figure: Figure) -> bytes:
    """The figure as SVG without a date: the same figure gives the same bytes."""
    return _saved(figure, format="svg", metadata={"Date": None, "Creator": None})


def png(figure: Figure) -> bytes:
    """The figure as PNG, twice as fine as a plain screen shows it."""
    return _saved(figure, format="png", dpi=192, metadata={"Software": None})


def _saved(figure: Figure, **how: Any) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, **how)
    return buffer.getvalue()
