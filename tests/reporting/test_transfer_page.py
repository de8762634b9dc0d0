"""Transfer on the page: numbers, words that the intervals allow, and maps of every size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from reported_runs import EVIL

from hardy.diagnosis.transferred import SUCCESS, Cell, Comparison
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting import figures
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report
from hardy.reporting.style import svg
from hardy.reporting.tables import other_table
from hardy.reporting.transfer import best_surrogates, gain_table, transfer_table

PGD: dict[str, Scalar] = {"attack": "PGD", "norm": "linf", "eps": 8 / 255, "steps": 10}
PGD |= {"step_size": 2 / 255, "targeted": False, "seed": 0, "dtype": "fp32"}
MI: dict[str, Scalar] = {**PGD, "attack": "MI-FGSM", "momentum": 1.0, "targeted": True}
NETS = ("std", "at", "early")


def cell(surrogate: str, target: str, n: int, fooled: int, **more: Scalar) -> Measurement:
    return Cell(surrogate, target, n, fooled).measurement("test", {**PGD, **more})


def common(surrogate: str, target: str, n: int, fooled: int) -> Measurement:
    quantity = f"{SUCCESS} on common pictures"
    return Cell(surrogate, target, n, fooled).measurement("test", PGD, quantity)


def compared(
    surrogate: str, other: str, target: str, n: int, gained: int, lost: int
) -> Measurement:
    return Comparison(surrogate, other, target, n, gained, lost).measurement("test", PGD)


def three(gained: int, lost: int) -> list[Measurement]:
    """std is the target of at and early; at fools more of the pictures that all share."""
    return [
        cell("std", "std", 900, 890),
        cell("at", "std", 800, 320),
        cell("early", "std", 500, 250),
        common("at", "std", 400, 180),
        common("early", "std", 400, 150),
        # Measured the other way round: what is lost by early is gained by at.
        compared("early", "at", "std", 400, lost, gained),
    ]


def of(measurements: list[Measurement], verb: str = "transfer") -> Results:
    return Results(verb, {}, [], measurements)


def test_the_best_surrogate_is_named_where_its_lead_is_more_than_chance() -> None:
    (said,) = best_surrogates(of(three(gained=40, lost=10)))
    assert said == (
        "std is fooled most by way of at: 45.00 % [40.2, 49.9] of 400 pictures that all classify "
        "rightly; what it has over early is more than chance: 7.50 points [4.0, 10.9] on 400 "
        "pictures, p < 0.001."
    )


def test_a_lead_by_chance_is_called_one() -> None:
    (said,) = best_surrogates(of(three(gained=55, lost=45)))
    assert "what it has over early is no more than chance: 2.50 points [" in said
    assert said.endswith("p = 0.37.")


def test_of_equals_none_is_best() -> None:
    (said,) = best_surrogates(of(three(gained=30, lost=30)))
    assert said.startswith("std is fooled as often by way of at as of early: 45.00 %")
    assert "most" not in said


def test_of_several_surrogates_the_best_was_picked_and_chance_is_corrected_for() -> None:
    """p = 0.041 would be enough for one comparison, and is not for two."""
    pair = [*three(gained=27, lost=13), common("late", "std", 400, 140)]
    (said,) = best_surrogates(of(three(gained=27, lost=13)))
    assert "is more than chance:" in said and said.endswith("p = 0.038.")
    (said,) = best_surrogates(of(pair))
    assert "is no more than chance (one of 2 comparisons):" in said


def test_a_target_that_nobody_fools_has_no_best_surrogate() -> None:
    none = [cell("at", "std", 800, 3), common("at", "std", 40, 0), common("early", "std", 40, 0)]
    assert best_surrogates(of(none)) == [
        "std is fooled by way of none of the others: 0.00 % [0.0, 8.8] of 40 pictures that all "
        "classify rightly."
    ]


def test_without_rivals_there_is_no_best() -> None:
    alone = [cell("at", "std", 800, 320), common("at", "std", 400, 180)]
    assert best_surrogates(of(alone)) == []


def test_the_headline_names_the_ends_and_leaves_white_boxes_out() -> None:
    said = headline(of(three(gained=40, lost=10)))
    assert said.startswith(
        "Of 2 pairs of different networks most is carried over from early to std: 50.00 % "
        "[45.6, 54.4] of 500 pictures (PGD-10, Linf 8/255); least from at to std: 40.00 % "
        "[36.7, 43.4] of 800 pictures. std is fooled most by way of at"
    )
    assert headline(of([cell("std", "std", 900, 890)])) == (
        "As its own surrogate std is fooled on 98.89 % [98.0, 99.4] of 900 pictures "
        "(PGD-10, Linf 8/255)."
    )
    assert headline(of([cell("at", "std", 800, 320)])) == (
        "From at to std: 40.00 % [36.7, 43.4] of 800 pictures are carried over "
        "(PGD-10, Linf 8/255)."
    )


def test_the_tables_hold_every_number_once() -> None:
    results = of([*three(gained=40, lost=10), cell("at", "std", 700, 7, **MI)])
    rows = transfer_table(results)
    assert rows[0] == [
        "surrogate", "target", "attack", "n", "fooled, %", "common n", "fooled there, %",
    ]  # fmt: skip
    assert rows[2] == [
        "at", "std", "PGD-10, Linf 8/255", "800", "40.00 [36.7, 43.4]", "400", "45.00 [40.2, 49.9]",
    ]  # fmt: skip
    assert rows[4][2:] == ["MI-FGSM, Linf 8/255, 10 steps, targeted", "700", rows[4][4], "–", "–"]
    assert gain_table(results)[1] == [
        "std", "at", "early", "PGD-10, Linf 8/255", "400", "+7.50 [4.0, 10.9]", "< 0.001",
    ]  # fmt: skip
    assert len(transfer_table(of([cell("at", "std", 8, 3)]))[0]) == 5
    assert other_table(results) == []  # it is nowhere else
    assert transfer_table(of([])) == gain_table(of([])) == []


def texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert b"<svg" in svg(figure)
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1), (3, 3), (12, 12)])
def test_a_map_has_the_number_of_every_cell(rows: int, columns: int) -> None:
    names = [f"runs/a rather long name of a folder {i}" for i in range(12)]
    cells = [
        cell(surrogate, target, 1000, 10 * (12 * s + t) % 1000)
        for s, surrogate in enumerate(names[:rows])
        for t, target in enumerate(names[:columns])
    ]
    digits = 0 if columns == 12 else 1
    wanted = [f"{100 * m.value:.{digits}f}" for m in cells]
    assert texts(figures.transfer_map(of(cells))) == wanted


def test_a_map_an_attack_with_its_gaps_and_white_boxes() -> None:
    cells = [cell(a, b, 100, 50) for a in NETS for b in NETS if (a, b) != ("at", "early")]
    figure = figures.transfer_map(of([*cells, cell("std", "at", 100, 1, **MI)]))
    assert texts(figure) == ["50.0"] * 5 + ["–"] + ["50.0"] * 3 + ["1.0"]
    assert figure is not None
    first, second = figure.axes
    assert first.get_title(loc="left") == "PGD-10, Linf 8/255"
    assert second.get_title(loc="left") == "MI-FGSM, Linf 8/255, 10 steps, targeted"
    assert (len(first.lines), len(second.lines)) == (3, 0)  # frames
    assert figures.transfer_map(of([])) is None


def test_the_page_tells_it_all(run: Callable[..., Results], tmp_path: Path) -> None:
    evil = [cell(EVIL, "std", 800, 320), cell("std", EVIL, 800, 10)]
    run("transfer", [*three(gained=40, lost=10), *evil])
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert 'id="transfer"' in page and "more than chance: 7.50 points" in page
    assert "highest between different networks: early to std 50.00 [45.6, 54.4]" in page
    assert EVIL not in page
    assert "All 5 cells as a table" in page and "Each two surrogates on a target" in page
    assert (tmp_path / "figures" / "transfer.svg").is_file()
    assert "## Transfer" in (tmp_path / "tables.md").read_text(encoding="utf-8")
