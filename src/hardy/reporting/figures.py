"""The figures of a run. Each is a pure function of the results, None where they hold nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.candidates import Candidate, candidates, start_of, tolerance
from hardy.reporting.style import (
    BLUE,
    FAINT,
    INK,
    MARKERS,
    ORANGE,
    QUIET,
    SERIES,
    WIDTH,
    drawn,
)
from hardy.reporting.tables import chosen_modules
from hardy.reporting.wording import number

PICTURES_SHOWN = 8
AMPLIFIED = 8


@drawn
def mrc_bars(results: Results) -> Figure | None:
    """MRC beside the drop of robust accuracy, a bar a module in network order (RiFT, Figure 3)."""
    mrc = _by_subject(results, "mrc")
    drops = _by_subject(results, "robust accuracy drop")
    modules = list(mrc)
    if not modules:
        return None
    figure = Figure(figsize=(WIDTH, 0.9 + 0.23 * max(len(modules), 3)))
    panels = figure.subplots(1, 2 if drops else 1, sharey=True, squeeze=False)[0]
    marked = chosen_modules(results)
    colours = [ORANGE if name in marked else QUIET for name in modules]
    positive = [m.value for m in mrc.values() if m.value > 0]
    _bars(panels[0], modules, mrc, 1, colours, "{:.3g}")
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
) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for row, (name, colour) in enumerate(zip(modules, colours, strict=True)):
        m = measured.get(name)
        if m is None:
            continue
        axes.barh(row, scale * m.value, height=0.68, color=colour)
        if m.interval is not None:
            low, high = m.interval
            axes.hlines(row, scale * low, scale * high, color=INK, linewidth=1)
        # The number stands in the margin, where no bar and no interval can cover it.
        shown = text.format(scale * m.value).replace("-", "−")
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
    _labels(figure, axes, anchors, list(zip(x, y, strict=True)), marked)
    return figure


def _labels(
    figure: Figure,
    axes: Axes,
    anchors: dict[str, tuple[float, float]],
    dots: Iterable[tuple[float, float]],
    marked: set[str],
) -> None:
    """Write each name beside its dot where it covers nothing; leave out what has no room."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    pixels = [axes.transData.transform(dot) for dot in dots]
    taken = [Bbox.from_extents(px - 6, py - 6, px + 6, py + 6) for px, py in pixels]
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


@drawn
def tradeoff(results: Results) -> Figure | None:
    """Robust against clean accuracy along α, with the start, the choice and the rule's floor."""
    curves = candidates(results)
    start = start_of(curves)
    if start is None:
        return None
    rows = math.ceil(len(curves) / 2)
    figure = Figure(figsize=(WIDTH, 4.6 + 0.22 * rows))
    axes = figure.subplots()
    for index, curve in enumerate(curves):
        _curve(axes, curve, SERIES[index % 6], MARKERS[(index + index // 6) % 6])
    allowed = tolerance(results, start)
    axes.axhline(
        100 * (start.robust.value - allowed), color=INK, linewidth=1, linestyle=(0, (4, 3))
    )
    axes.annotate(
        f"floor of the rule: start − {number(100 * allowed)} points",
        (0.01, 100 * (start.robust.value - allowed)),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, -4),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=8.5,
        color=INK,
    )
    here = (100 * start.clean.value, 100 * start.robust.value)
    axes.plot(*here, marker="*", markersize=15, color=INK, markeredgecolor="white", zorder=5)
    _say(axes, "start", here, (0, 13))
    for point in (p for curve in curves for p in curve.points if p.chosen):
        here = (100 * point.clean.value, 100 * point.robust.value)
        axes.plot(*here, "o", markersize=14, markerfacecolor="none", markeredgecolor=INK, zorder=6)
        _say(axes, f"chosen, α = {point.alpha:g}", here, (14, 15))
    axes.set_xlabel("clean accuracy, %")
    axes.set_ylabel("robust accuracy, %")
    axes.margins(0.07, 0.1)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _curve(axes: Axes, curve: Candidate, colour: str, marker: str) -> None:
    x = [100 * p.clean.value for p in curve.points]
    y = [100 * p.robust.value for p in curve.points]
    axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.8)
    # The marker grows with α, so that the eye sees which way the curve runs.
    sizes = [10 + 40 * p.alpha for p in curve.points]
    axes.scatter(x, y, s=sizes, color=colour, marker=marker, label=curve.label, zorder=3)


def _say(axes: Axes, text: str, where: tuple[float, float], offset: tuple[float, float]) -> None:
    axes.annotate(
        text,
        where,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )


@drawn
def training_curves(results: Results) -> Figure | None:
    """Loss, clean and robust accuracy by epoch, a line a run, the kept epoch ringed."""
    panels = {
        "train loss": "Training loss",
        "clean accuracy": "Clean accuracy, %",
        "robust accuracy": "Robust accuracy, %",
    }
    measured = {q: [m for m in results.select(q) if "epoch" in m.setting] for q in panels}
    measured = {q: found for q, found in measured.items() if found}
    if not measured:
        return None
    names = {(m.subject, m.split) for found in measured.values() for m in found}
    subjects = list(dict.fromkeys(m.subject for found in measured.values() for m in found))
    figure = Figure(figsize=(WIDTH, 3.3))
    row = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, (quantity, found) in zip(row, measured.items(), strict=True):
        axes.set_title(panels[quantity])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for subject, split in sorted(names, key=lambda pair: (subjects.index(pair[0]), pair[1])):
            own = [m for m in found if (m.subject, m.split) == (subject, split)]
            scale = 1 if quantity == "train loss" else 100
            seen_while_learning = split == "train" and quantity != "train loss"
            _epochs(axes, own, scale, subjects.index(subject), seen_while_learning)
    for index, subject in enumerate(subjects):
        row[0].plot([], [], color=SERIES[index % 6], marker=MARKERS[index % 6], label=subject)
    if any(subjects):
        figure.legend(loc="outside lower center", ncols=min(len(subjects), 4))
    return figure


def _epochs(axes: Axes, own: Sequence[Measurement], scale: float, index: int, seen: bool) -> None:
    own = sorted(own, key=_epoch)
    x, y = [_epoch(m) for m in own], [scale * m.value for m in own]
    dotted = {"linestyle": ":", "linewidth": 1.2} if seen else {}
    marker = MARKERS[index % 6] if len(own) <= 30 else ""
    axes.plot(x, y, color=SERIES[index % 6], marker=marker, markersize=3.5, **dotted)
    for m in own:
        if m.setting.get("chosen"):
            axes.plot(
                _epoch(m),
                scale * m.value,
                "o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=1.2,
            )


def _epoch(m: Measurement) -> float:
    epoch = m.setting["epoch"]
    assert isinstance(epoch, int | float), "an epoch is a number"
    return epoch


@drawn
def pictures(results: Results, folder: Path) -> Figure | None:
    """The first pictures, clean and attacked, the difference amplified, what the nets say of them.

    Raises ValueError where the file of pictures is damaged.
    """
    path = next((folder / a.path for a in results.artifacts if a.kind == "pictures"), None)
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            held = {name: stored[name] for name in stored.files}
        clean, adversarial = (
            held[name][:PICTURES_SHOWN].astype(np.int16) for name in ("clean", "adversarial")
        )
        labels, classes = held["labels"], [str(name) for name in held["classes"]]
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} does not hold the pictures of a run ({error})") from None
    if not len(clean):
        return None
    difference = np.clip(128 + AMPLIFIED * (adversarial - clean), 0, 255)
    columns = len(clean)
    # Eight columns always, so that one picture alone is not blown up to the width of the page.
    figure = Figure(figsize=(WIDTH, 4.2), layout="compressed")
    grid = figure.subplots(3, PICTURES_SHOWN, squeeze=False)
    rows = (("clean", clean), (f"difference × {AMPLIFIED}", difference), ("attacked", adversarial))
    for cells, (title, images) in zip(grid, rows, strict=True):
        cells[0].set_ylabel(title)
        for column, axes in enumerate(cells):
            axes.grid(visible=False)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column < columns:
                _picture(axes, images[column])
    changed = "result/clean" in held  # else there is one net only, and no before
    for kind, cells in (("clean", grid[0]), ("adversarial", grid[2])):
        for column in range(columns):
            said = [
                (word, int(held[f"{net}/{kind}"][column]))
                for net, word in (("start", "before " if changed else ""), ("result", "after "))
                if f"{net}/{kind}" in held
            ]
            _verdict(cells[column], classes, int(labels[column]), said, kind == "clean")
    return figure


def _picture(axes: Axes, image: np.ndarray) -> None:
    grey = image.shape[0] == 1
    shown = np.moveaxis(image, 0, -1)[..., 0 if grey else slice(None)].astype(np.uint8)
    axes.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="none")


def _verdict(
    axes: Axes, classes: Sequence[str], label: int, said: Sequence[tuple[str, int]], titled: bool
) -> None:
    def named(index: int) -> str:
        name = classes[index] if 0 <= index < len(classes) else str(index)
        return name if len(name) <= 10 else name[:9] + "…"

    if titled:
        axes.set_title(named(label), fontsize=8.5, loc="center")
    for line, (word, index) in enumerate(said):
        right = index == label
        axes.annotate(
            f"{word}{'✓' if right else '✗'}\u2009{named(index)}",
            (0.5, 0),
            xycoords="axes fraction",
            xytext=(0, -4 - 10.5 * line),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=RIGHT if right else WRONG,
        )


# Darker than the palette's green and vermilion: small text needs the contrast.
RIGHT, WRONG = "#00664A", "#B03A00"


def _by_subject(results: Results, quantity: str) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for m in results.select(quantity):
        found.setdefault(m.subject, m)
    return found
