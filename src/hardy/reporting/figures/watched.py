"""What a run has watched of each epoch's network."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hardy.evaluation.results import Measurement, Results, is_accuracy
from hardy.reporting.ligs import named, watched
from hardy.reporting.style import INK, WIDTH, drawn, legend_columns, series
from hardy.reporting.wording import short


@drawn
def watched_curves(results: Results) -> Figure | None:
    """A curve of each watched quantity and network by epoch, its interval as a band, the kept
    epoch ringed: accuracies share one panel, every other quantity has its own."""
    found = watched(results)
    if not found:
        return None
    shares = [quantity for quantity in found if is_accuracy(quantity)]
    panels = [[quantity] for quantity in found if quantity not in shares]
    panels += [shares] if shares else []
    labels = {}
    for quantities in panels:
        for quantity in quantities:
            for subject in dict.fromkeys(m.subject for m in found[quantity]):
                label = f"{named(quantity)}, {short(subject, 30)}" if subject else named(quantity)
                labels[quantity, subject] = label
    figure = Figure(figsize=(WIDTH, 3.3))
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, quantities in zip(row, panels, strict=True):
        axes.set_title("Accuracy, %" if quantities is shares else named(quantities[0]))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for index, key in enumerate(labels):
            if key[0] in quantities:
                own = [m for m in found[key[0]] if m.subject == key[1]]
                _curve(axes, own, 100 if quantities is shares else 1, index, labels[key])
    figure.legend(loc="outside lower center", ncols=legend_columns(labels.values()))
    return figure


def _curve(axes: Axes, own: list[Measurement], scale: float, index: int, label: str) -> None:
    own = sorted(own, key=_epoch)
    x, look = [_epoch(m) for m in own], series(index)
    look |= {"marker": look["marker"] if len(own) <= 30 else ""}
    axes.plot(x, [scale * m.value for m in own], markersize=3.5, label=label, **look)
    bounds = [m.interval or (m.value, m.value) for m in own]
    low, high = ([scale * pair[end] for pair in bounds] for end in (0, 1))
    axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    for m in own:
        if m.setting.get("chosen"):
            ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.2}
            axes.plot(_epoch(m), scale * m.value, "o", markersize=11, **ring)


def _epoch(m: Measurement) -> float:
    epoch = m.setting["epoch"]
    assert isinstance(epoch, int | float), "an epoch is a number"
    return epoch
