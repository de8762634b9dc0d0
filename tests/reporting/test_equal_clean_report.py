"""Networks at one clean accuracy on the page: the table, the figure, the sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluated_runs import PGD, of_equal_clean, share
from matplotlib.axes import Axes
from reported_runs import EVIL

from hardy.evaluation.results import Measurement, Results
from hardy.reporting import figures
from hardy.reporting.candidates import candidates
from hardy.reporting.captions import FIGURES
from hardy.reporting.equal_clean import at_equal_clean, equal_clean_table
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report
from hardy.reporting.style import svg
from hardy.reporting.tables import markdown, other_table, table

AT = "robust accuracy at equal clean accuracy"
OWN = [
    share("clean accuracy", 0.8, "a", {"dtype": "fp32"}),
    share("robust accuracy", 0.5, "a", PGD),
]


def without_interval(m: Measurement) -> Measurement:
    return replace(m, interval=None, no_interval="too few reach it")


def test_the_table_says_where_each_network_is_read(run: Callable[..., Results]) -> None:
    head, *rows = equal_clean_table(run("evaluate", of_equal_clean(("a", "b"))))
    assert head == [
        "network",
        "n",
        "own clean accuracy, %",
        "own robust accuracy, %",
        "α of the crossing",
        "robust accuracy at 81.00 % clean, %",
        "difference to a, points",
    ]
    own = ["80.00 [77.5, 82.5]", "55.00 [51.9, 58.1]"]
    assert rows[0] == ["a", "1,000", *own, "0.10", "54.00 [50.9, 57.1]", "–"]
    own = ["81.00 [78.6, 83.4]", "57.00 [53.9, 60.1]"]
    assert rows[1] == ["b", "1,000", *own, "0.00", "57.00 [53.9, 60.1]", "+3.00 [2.0, 4.0]"]


def test_a_network_that_never_comes_there_says_so(run: Callable[..., Results]) -> None:
    found = of_equal_clean(("a", "b", "c"))
    lost = [m for m in found if not (AT in m.quantity and m.subject.startswith("b"))]
    _, first, second, third = equal_clean_table(run("evaluate", lost))
    assert second[4:] == ["none: 91.00 % clean at most", "–", "–"]
    assert first[6] == "–" and third[6].startswith("+6.00")


def test_a_missing_interval_is_explained(run: Callable[..., Results]) -> None:
    found = [without_interval(m) if m.subject == "b" and m.quantity == AT else m
             for m in of_equal_clean(("a", "b"))]  # fmt: skip
    results = run("evaluate", found)
    assert equal_clean_table(results)[2][5] == "57.00"
    assert results.folder is not None
    text = write_report(results.folder).read_text(encoding="utf-8")
    assert "Where a number has no interval: b: too few reach it." in text


def axes_of(results: Results) -> Axes:
    figure = figures.equal_clean_curves(results)
    assert figure is not None and b"<svg" in svg(figure)
    return figure.axes[0]


def test_the_figure_has_curves_level_and_rings(run: Callable[..., Results]) -> None:
    axes = axes_of(run("evaluate", of_equal_clean(("a", "b"))))
    lines = [np.round(np.asarray(line.get_xydata(), float), 6) for line in axes.lines]
    curves = [xy for xy in lines if len(xy) == 11]
    np.testing.assert_allclose(curves[0][:, 0], 80 + np.arange(11))
    np.testing.assert_allclose(curves[1][:, 1], 57 - np.arange(11))
    (level,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(np.asarray(level.get_xdata(), float)) == pytest.approx([81, 81])
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert [tuple(map(float, np.ravel(r.get_xydata()))) for r in rings] == [
        pytest.approx((81, 54)),
        pytest.approx((81, 57)),
    ]
    assert "81.00 % clean" in [text.get_text() for text in axes.texts]


def test_many_networks_and_one_that_is_not_read_are_drawn(run: Callable[..., Results]) -> None:
    names = tuple(f"runs/a rather long name of a folder/{i} {EVIL}" for i in range(8))
    found = [m for m in of_equal_clean(names) if not (AT in m.quantity and names[3] in m.subject)]
    found = [without_interval(m) if m.quantity == AT and m.subject == names[5] else m
             for m in found]  # fmt: skip
    axes = axes_of(run("evaluate", found))
    assert sum(line.get_markerfacecolor() == "none" for line in axes.lines) == 7


def test_the_headline_names_who_has_most(run: Callable[..., Results]) -> None:
    results = run("evaluate", [*OWN, *of_equal_clean(("a", "b"))])
    sentence = (
        "At equal clean accuracy, 81.00 %, b has the most robust accuracy: "
        "57.00 % [53.9, 60.1] (PGD-10, Linf 8/255, one start), +3.00 [2.0, 4.0] points over a."
    )
    assert at_equal_clean(results) == sentence
    assert headline(results).endswith(sentence)


def test_no_network_wins_over_its_equal(run: Callable[..., Results]) -> None:
    found = [replace(m, value=0.5, interval=(0.4, 0.6)) if m.quantity == AT else m
             for m in of_equal_clean(("a", "b"))]  # fmt: skip
    said = at_equal_clean(run("evaluate", found))
    assert "several networks have as much robust accuracy as any: 50.00 %" in said


def test_one_reading_is_no_comparison(run: Callable[..., Results]) -> None:
    found = [m for m in of_equal_clean(("a", "b")) if not (AT in m.quantity and "a" in m.subject)]
    assert at_equal_clean(run("evaluate", found)) == ""


def test_nothing_is_said_where_nothing_was_measured(run: Callable[..., Results]) -> None:
    results = run("evaluate", OWN)
    assert equal_clean_table(results) == [] and at_equal_clean(results) == ""
    assert figures.equal_clean_curves(results) is None
    assert results.folder is not None
    assert 'id="equal"' not in write_report(results.folder).read_text(encoding="utf-8")


def test_no_other_table_takes_the_points_for_its_own(run: Callable[..., Results]) -> None:
    found = of_equal_clean(("a", "b"))
    results = run("evaluate", [*OWN, *found])
    assert table(results) == table(run("evaluate", OWN))
    results = run("evaluate", [*OWN, *found])
    assert candidates(results) == [] and other_table(results) == []
    assert figures.tradeoff(results) is None
    assert "## At equal clean accuracy" in markdown(results)


def test_the_page_escapes_and_describes(run: Callable[..., Results], tmp_path: Path) -> None:
    results = run("evaluate", [*OWN, *of_equal_clean(("a", EVIL))])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert text.index('id="outcome"') < text.index('id="equal"') < text.index('id="setting"')
    assert EVIL not in text and (tmp_path / "figures" / "equal.svg").is_file()
    title, caption, alt = FIGURES["equal"][1](results)
    assert title == "At equal clean accuracy"
    assert "on the same 1,000 pictures of test under PGD-10, Linf 8/255, one start." in caption
    assert "at 81.00 % clean: a 54.00 %" in alt
