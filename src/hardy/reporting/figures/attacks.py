"""How networks give way: stage by stage of an ensemble of attacks, and radius by radius."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.curves import curves, ensembles
from hardy.reporting.style import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PINK,
    QUIET,
    SKY,
    WIDTH,
    drawn,
    legend_columns,
    series,
)
from hardy.reporting.wording import number, short

BREAKS = (ORANGE, AMBER, PINK, SKY, GREEN)
LEGIBLE = 0.045  # the least share whose number fits into its part of a bar


@drawn
def stages(results: Results) -> Figure | None:
    """What became of all pictures: wrong when clean, broken by which stage, or standing."""
    found = ensembles(results)
    if not found:
        return None
    several = len({one.attack for one in found}) > 1
    names = list(dict.fromkeys(str(m.setting["stage"]) for one in found for m in one.stages))
    colours = {name: BREAKS[i % len(BREAKS)] for i, name in enumerate(names)}
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(found)))
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    for row, one in enumerate(found):
        parts = [("wrong when clean", one.wrong, QUIET)]
        parts += [(name, share, colours[name]) for name, share in one.broken]
        parts += [("stands", one.stands, BLUE)]
        _bar(axes, row, parts)
    for name, colour in [("wrong when clean", QUIET), *colours.items(), ("stands", BLUE)]:
        label = f"broken by {name}" if name in colours else name
        axes.barh([0], [0], color=colour, label=label)
    labels = [f"{short(one.network, 30)}{f', {one.attack}' if several else ''}" for one in found]
    axes.set_yticks(range(len(found)), labels)
    axes.set_ylim(len(found) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.set_xlabel("pictures, %")
    figure.legend(loc="outside lower center", ncols=min(4, len(names) + 2))
    return figure


def _bar(axes: Axes, row: int, parts: Sequence[tuple[str, float, str]]) -> None:
    left = 0.0
    for _, share, colour in parts:
        axes.barh(row, 100 * share, left=100 * left, height=0.68, color=colour)
        if share >= LEGIBLE:
            axes.text(
                100 * (left + share / 2),
                row,
                number(100 * share, 1),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if colour == BLUE else INK,
            )
        left += share


@drawn
def radius_curves(results: Results) -> Figure | None:
    """Robust accuracy over the radius, a line a network, 95 % intervals as bands; a dashed line
    where the attacks of the table are."""
    found = curves(results)
    if not found:
        return None
    norms = {str(m.setting.get("norm")) for points in found.values() for m in points}
    # Linf radii come in multiples of 1/255, and are read as such.
    scale = 255 if norms == {"linf"} else 1
    figure = Figure(figsize=(WIDTH, 3.9 + 0.2 * (len(found) // legend_columns(found))))
    axes = figure.subplots()
    for index, (network, points) in enumerate(found.items()):
        x = [scale * _eps(m) for m in points]
        line = series(index)
        axes.plot(
            x, [100 * m.value for m in points], markersize=4, label=short(network, 40), **line
        )
        if all(m.interval for m in points):
            ends = [m.interval for m in points if m.interval]
            low, high = ([100 * end[side] for end in ends] for side in (0, 1))
            axes.fill_between(x, low, high, color=line["color"], alpha=0.15, linewidth=0)
    for eps in sorted({_eps(m) for m in results.select("robust accuracy")} - {0.0}):
        if scale * eps <= axes.get_xlim()[1]:
            axes.axvline(scale * eps, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 100)
    axes.set_xlim(0, max(scale * _eps(m) for points in found.values() for m in points) or None)
    unit = ", multiples of 1/255" if scale == 255 else ""
    norm = {"linf": "Linf", "l2": "L2"}.get(norms.pop(), "") if len(norms) == 1 else ""
    axes.set_xlabel(f"{norm} radius{unit}".strip())
    axes.set_ylabel("accuracy, %")
    if any(found):
        figure.legend(loc="outside lower center", ncols=legend_columns(found))
    return figure


def _eps(m: Measurement) -> float:
    eps = m.setting.get("eps")
    assert isinstance(eps, int | float), "results are valid: it says its radius"
    return float(eps)
