"""Modules of a network: how critical each is, and what tuning it could bring."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.figures.labels import label_dots
from hardy.reporting.style import BLUE, FAINT, INK, ORANGE, QUIET, WIDTH, drawn
from hardy.reporting.tables import BOUND, chosen_modules


@drawn
def mrc_bars(results: Results) -> Figure | None:
    """MRC beside the drop of robust accuracy, a bar a module in network order (RiFT, Figure 3);
    below, in outline, the lower bounds of those that a race dropped."""
    mrc = _by_subject(results, "mrc")
    bounds = {n: m for n, m in _by_subject(results, BOUND).items() if n not in mrc}
    mrc |= bounds
    drops = _by_subject(results, "robust accuracy drop")
    modules = list(mrc)
    if not modules:
        return None
    figure = Figure(figsize=(WIDTH, 0.9 + 0.23 * max(len(modules), 3)))
    panels = figure.subplots(1, 2 if drops else 1, sharey=True, squeeze=False)[0]
    marked = chosen_modules(results)
    colours = [ORANGE if name in marked else QUIET for name in modules]
    positive = [m.value for m in mrc.values() if m.value > 0]
    _bars(panels[0], modules, mrc, 1, colours, "{:.3g}", bounds)
    panels[0].set_title("MRC, nats (log scale)")
    if positive:
        low, high = min(positive), max(positive)
        panels[0].set_xscale("log")
        panels[0].set_xlim(low / 2, max(high * 1.5, low * 10))
        panels[0].xaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 300 else (1,)))
        panels[0].xaxis.set_minor_locator(NullLocator())
        panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if drops:
        _bars(panels[1], modules, drops, 100, colours, "{:.1f}")
        panels[1].set_title("Robust accuracy lost, points")
        panels[1].axvline(0, color=FAINT, linewidth=0.8)
    panels[0].set_yticks(range(len(modules)), modules)
    panels[0].set_ylim(len(modules) - 0.4, -0.6)
    for label, name in zip(panels[0].get_yticklabels(), modules, strict=True):
        if name in marked:
            label.set(color=ORANGE, fontweight="bold")
    return figure


def _bars(
    axes: Axes,
    modules: Sequence[str],
    measured: dict[str, Measurement],
    scale: float,
    colours: Sequence[str],
    text: str,
    bounds: Collection[str] = (),
) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for row, (name, colour) in enumerate(zip(modules, colours, strict=True)):
        m = measured.get(name)
        if m is None:
            continue
        (bar,) = axes.barh(row, scale * m.value, height=0.68, color=colour)
        if name in bounds:
            bar.set(fill=False, edgecolor=colour)
        if m.interval is not None:
            low, high = m.interval
            axes.hlines(row, scale * low, scale * high, color=INK, linewidth=1)
        # The number stands in the margin, where no bar and no interval can cover it.
        shown = text.format(scale * m.value).replace("-", "−")
        shown = f"≥ {shown}" if name in bounds else shown
        axes.annotate(
            shown,
            (1, row),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK if colour == ORANGE else FAINT,
            fontweight="bold" if colour == ORANGE else "normal",
        )


@drawn
def potential_scatter(results: Results) -> Figure | None:
    """MRC against clean potential, coloured by the cosine of the two gradients."""
    mrc, potential = _by_subject(results, "mrc"), _by_subject(results, "clean potential")
    conflict = _by_subject(results, "conflict")
    modules = [name for name in mrc if name in potential and mrc[name].value > 0]
    if not modules:
        return None
    figure = Figure(figsize=(WIDTH, 5))
    axes = figure.subplots()
    x = [potential[name].value for name in modules]
    y = [mrc[name].value for name in modules]
    if all(name in conflict for name in modules):
        cosine = [conflict[name].value for name in modules]
        reach = max(0.1, *map(abs, cosine))
        dots = axes.scatter(
            x,
            y,
            c=cosine,
            cmap="RdBu",
            vmin=-reach,
            vmax=reach,
            s=52,
            edgecolors=INK,
            linewidths=0.6,
        )
        bar = figure.colorbar(dots, ax=axes, shrink=0.75, aspect=28, pad=0.02)
        bar.set_label("cosine of the clean and the robust gradient\n(below 0: they pull apart)")
    else:
        axes.scatter(x, y, color=BLUE, s=52, edgecolors=INK, linewidths=0.6)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("clean potential: what clean accuracy could gain inside the ball")
    axes.set_ylabel("MRC, nats: what robustness could lose")
    axes.margins(0.08, 0.1)
    marked = chosen_modules(results)
    by_mrc = sorted(modules, key=lambda name: mrc[name].value)
    by_potential = sorted(modules, key=lambda name: -potential[name].value)
    named = [name for name in modules if name in marked]
    named += [*by_potential[:4], *by_mrc[:3], *by_mrc[-3:], *by_potential[-1:]]
    anchors = {name: (potential[name].value, mrc[name].value) for name in dict.fromkeys(named)}
    label_dots(figure, [(axes, anchors, zip(x, y, strict=True))], marked)
    return figure


def _by_subject(results: Results, quantity: str) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for m in results.select(quantity):
        found.setdefault(m.subject, m)
    return found
