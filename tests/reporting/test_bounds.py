"""Lower bounds that a race gives are never taken for measured criticalities."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.colors import to_rgba
from reported_runs import of_modules

from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting import figures
from hardy.reporting.captions import FIGURES
from hardy.reporting.headline import headline
from hardy.reporting.tables import module_table, other_table


def raced() -> list[Measurement]:
    """c and a are measured to the end; b, between them in the network, is bounded."""
    setting: dict[str, Scalar] = {"race": 1}
    found = [
        Measurement("mrc", 0.5, "train", 9, "a", None, "-", setting),
        Measurement("mrc bound", 0.7, "train", 9, "b", None, "-", {**setting, "ascent steps": 2}),
        Measurement("mrc", 0.25, "train", 9, "c", None, "-", setting),
    ]
    potential = [
        Measurement("clean potential", 1.0, "train", 9, name, None, "-", setting) for name in "abc"
    ]
    return found + potential


def test_the_table_has_them_last_and_marked(run: Callable[..., Results]) -> None:
    results = run("mrc", raced())
    header, *rows = module_table(results)
    assert [row[0] for row in rows] == ["a", "c", "b"]
    assert [row[header.index("MRC, nats")] for row in rows] == ["0.5", "0.25", "≥ 0.7"]
    assert other_table(results) == []


def test_the_headline_calls_none_the_most_critical(run: Callable[..., Results]) -> None:
    said = headline(run("mrc", raced()))
    assert said == "Of 3 modules, c (MRC 0.25 nats) is the least critical."


def test_the_figure_draws_them_in_outline(run: Callable[..., Results]) -> None:
    figure = figures.mrc_bars(run("mrc", raced()))
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b"]
    assert [text.get_text() for text in axes.texts] == ["0.5", "0.25", "≥ 0.7"]
    filled = [to_rgba(bar.get_facecolor())[3] > 0 for bar in axes.patches]
    assert filled == [True, True, False]
    plain = figures.mrc_bars(run("mrc", of_modules(["a", "b"])))
    assert plain is not None and "≥" not in {t.get_text()[0] for t in plain.axes[0].texts}


def test_the_caption_says_so(run: Callable[..., Results]) -> None:
    title, caption, _ = FIGURES["mrc"][1](run("mrc", raced()))
    assert title == "Robust criticality of the least critical modules"
    assert "in outline lower bounds of the 1 that the race dropped" in caption
