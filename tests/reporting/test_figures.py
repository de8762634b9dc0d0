"""The figures: what they show, and that they show it for few and for many modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from reported_runs import MODULES, of_modules, of_training, write_pictures

from hardy.evaluation.results import Measurement, Results
from hardy.reporting import figures
from hardy.reporting.style import ORANGE, svg


def texts(figure: Figure) -> list[str]:
    # Annotations of an axes and its titles; tick labels come from the axes themselves.
    return [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title]]


@pytest.mark.parametrize("count", [5, 21, 60])
def test_bars_grow_in_height_and_keep_their_order(run: Callable[..., Results], count: int) -> None:
    names = [f"block{i}.attention.in_proj_weight" for i in range(count)]
    figure = figures.mrc_bars(run("mrc", of_modules(names), module=f"{names[1]}, {names[3]}"))
    assert figure is not None
    mrc, drop = figure.axes
    assert [label.get_text() for label in mrc.get_yticklabels()] == names
    assert mrc.get_xscale() == "log"
    assert mrc.yaxis_inverted()
    assert figure.get_figheight() / count >= 0.22
    assert len(mrc.patches) == len(drop.patches) == count
    coloured = [label.get_color() == ORANGE for label in mrc.get_yticklabels()]
    assert [i for i, is_chosen in enumerate(coloured) if is_chosen] == [1, 3]


def test_a_module_without_criticality_does_not_break_the_log_axis(
    run: Callable[..., Results],
) -> None:
    zero = [Measurement("mrc", 0.0, "train", 9, name, None, "-") for name in ("a", "b")]
    figure = figures.mrc_bars(run("mrc", zero))
    assert figure is not None
    assert b"<svg" in svg(figure)
    figure = figures.mrc_bars(run("mrc", [*zero, *of_modules(["c"])]))
    assert figure is not None
    assert b"<svg" in svg(figure)


def test_intervals_are_drawn(run: Callable[..., Results]) -> None:
    figure = figures.mrc_bars(run("mrc", [Measurement("mrc", 1.0, "t", 9, "a", (0.5, 2.0))]))
    assert figure is not None
    assert len(figure.axes[0].collections) == 1


def test_the_tradeoff_shows_start_choice_and_floor(rift: Results) -> None:
    figure = figures.tradeoff(rift)
    assert figure is not None
    said = texts(figure)
    assert "start" in said
    assert "chosen, α = 0.6" in said
    assert "floor of the rule: start − 0.10 points" in said
    floor = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    assert np.asarray(floor.get_ydata())[0] == pytest.approx(53.53)


def test_extreme_modules_are_named_in_the_scatter(rift: Results) -> None:
    figure = figures.potential_scatter(rift)
    assert figure is not None
    said = [t for t in texts(figure) if t]
    assert "layer2.1.conv2" in said
    assert set(said) <= set(MODULES)
    assert 5 <= len(said) <= 12


def test_training_curves_ring_the_kept_epoch(run: Callable[..., Results]) -> None:
    figure = figures.training_curves(run("train", of_training(["a", "b"])))
    assert figure is not None
    assert [axes.title.get_text() or axes.get_title("left") for axes in figure.axes] == [
        "Training loss",
        "Clean accuracy, %",
        "Robust accuracy, %",
    ]
    rings = [line for line in figure.axes[1].lines if line.get_markersize() == 11]
    assert [np.asarray(line.get_xdata())[0] for line in rings] == [17, 17]


def test_the_first_picture_has_its_label_and_verdicts(rift: Results) -> None:
    assert rift.folder is not None
    figure = figures.pictures(rift, rift.folder)
    assert figure is not None
    second = [text.get_text().replace("\u2009", " ") for text in figure.axes[1].texts]
    assert second == ["before ✗ bird", "after ✓ $car_1$"]
    assert figure.axes[1].get_title() == "$car_1$"


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64)])
def test_grey_and_large_pictures_are_drawn(
    run: Callable[..., Results], shape: tuple[int, int, int]
) -> None:
    results = run("evaluate", [])
    write_pictures(results, shape)
    assert results.folder is not None
    figure = figures.pictures(results, results.folder)
    assert figure is not None
    assert sum(len(axes.images) for axes in figure.axes) == 24


def test_nothing_measured_nothing_drawn(run: Callable[..., Results]) -> None:
    results = run("export", [])
    assert results.folder is not None
    assert figures.mrc_bars(results) is None
    assert figures.potential_scatter(results) is None
    assert figures.tradeoff(results) is None
    assert figures.training_curves(results) is None
    assert figures.pictures(results, results.folder) is None
