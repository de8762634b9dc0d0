"""Loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.style import INK, MARKERS, SERIES, WIDTH, drawn


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
