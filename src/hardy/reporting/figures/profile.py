"""One network beside its baseline: everything that hardy why measured of both, as bars."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.style import BLUE, FAINT, INK, QUIET, WIDTH, drawn
from hardy.reporting.why.profile import CORRUPTED, FAMILIES, OF_ALL, Profile, profile
from hardy.reporting.wording import number, plain, short


@drawn
def profile_bars(results: Results) -> Figure | None:
    """Accuracies in percent and LIGS, a bar a network, 95 % intervals as lines."""
    found = profile(results)
    if found is None:
        return None
    rows = profile_rows(found)
    names = [name for name in (found.network, found.baseline) if name]
    similar = {"LIGS": rows.pop("LIGS")} if "LIGS" in rows else {}
    sizes = [len(part) for part in (rows, similar) if part]
    height = 0.9 + 0.2 * sum(sizes) * (len(names) + 0.6) + 0.5 * len(sizes)
    figure = Figure(figsize=(WIDTH, height))
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=sizes)[:, 0]
    _panel(panels[0], rows, names, 100)
    panels[0].set_xlim(0, 100)
    panels[0].set_xlabel("pictures, %")
    if similar:
        _panel(panels[1], similar, names, 1)
        panels[1].axvline(0, color=FAINT, linewidth=0.8)
        least = min(0.0, *(m.value for of in similar.values() for m in of.values()))
        panels[1].set_xlim(least, 1)
        panels[1].set_xlabel("cosine")
    if len(names) > 1:
        for name, colour in zip(names, (BLUE, QUIET), strict=True):
            panels[0].barh([0], [0], color=colour, label=short(name, 40))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def profile_rows(p: Profile) -> dict[str, dict[str, Measurement]]:
    """What has a bar, under its name, of each network; what neither has is left out."""
    kinds: dict[str, tuple[str, dict[str, str]]] = {
        "clean accuracy": ("clean accuracy", {}),
        "robust accuracy": ("robust accuracy", {}),
        "15 corruptions": (CORRUPTED, {"of": OF_ALL}),
        **{name: (CORRUPTED, {"of": name}) for name in FAMILIES},
        "LIGS": ("ligs", {}),
    }
    names = [name for name in (p.network, p.baseline) if name]
    rows = {
        row: {name: m for name in names if (m := p.of(quantity, name, **setting))}
        for row, (quantity, setting) in kinds.items()
    }
    return {row: of for row, of in rows.items() if of}


def _panel(
    axes: Axes, rows: dict[str, dict[str, Measurement]], names: list[str], scale: float
) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    thick = 0.8 / len(names)
    for row, of in enumerate(rows.values()):
        for place, (name, colour) in enumerate(zip(names, (BLUE, QUIET), strict=False)):
            m = of.get(name)
            if m is None:
                continue
            y = row - 0.4 + thick * (place + 0.5)
            axes.barh(y, scale * m.value, height=0.92 * thick, color=colour)
            if m.interval is not None:
                axes.hlines(y, scale * m.interval[0], scale * m.interval[1], INK, linewidth=1)
            bare = plain(m).partition(" [")[0] if scale == 1 else number(scale * m.value, 1)
            axes.annotate(
                bare,
                (1, y),
                xycoords=axes.get_yaxis_transform(),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK,
            )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
