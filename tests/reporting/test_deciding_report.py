"""Points of which clean accuracy alone was measured are shown as such, never as a number more."""

from __future__ import annotations

from collections.abc import Callable

from reported_runs import ATTACK

from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting.candidates import candidates
from hardy.reporting.captions import FIGURES
from hardy.reporting.figures.tradeoff import tradeoff
from hardy.reporting.tables import candidate_table


def point(
    label: str, alpha: float, clean: float, robust: float | str, chosen: bool = False
) -> list[Measurement]:
    """An α of a candidate; robust: an accuracy, or why there is none."""
    setting: dict[str, Scalar] = {"alpha": alpha, **({"chosen": True} if chosen else {})}
    where = ("val", 1000, label, None, "paired")
    if isinstance(robust, str):
        alone = {**setting, "robust accuracy": robust}
        return [Measurement("clean accuracy", clean, *where, alone)]
    return [
        Measurement("clean accuracy", clean, *where, setting),
        Measurement("robust accuracy", robust, *where, {**ATTACK, **setting}),
    ]


def decided(run: Callable[..., Results]) -> Results:
    """One won at 0.5; of the second nothing was attacked, of the third all was refused."""
    measurements = [
        *(m for label in "abc" for m in point(label, 0, 0.80, 0.50)),
        *point("a", 0.25, 0.81, "not needed"),
        *point("a", 0.5, 0.83, 0.51, chosen=True),
        *point("a", 1, 0.85, "below the rule"),
        *point("b", 0.5, 0.81, "not needed"),
        *point("b", 1, 0.82, "not needed"),
        *point("c", 0.5, 0.79, "not needed"),
        *point("c", 1, 0.86, "below the rule"),
    ]
    return run("rift", measurements, tolerance=0.001)


def test_the_table_claims_no_best_point_where_none_was_attacked(
    run: Callable[..., Results],
) -> None:
    rows = {row[0]: row[2:] for row in candidate_table(decided(run))[1:]}
    assert rows["a (chosen)"] == ["0.5", "83.00", "51.00", "+3.00"]
    assert rows["b"] == ["none could win", "at most 82.00", "–", "–"]
    assert rows["c"] == ["0", "80.00", "50.00", "0.00"], "refused, or no better than the start"


def test_points_have_both_accuracies_and_the_others_stand_apart(
    run: Callable[..., Results],
) -> None:
    first, second, third = candidates(decided(run))
    assert [p.alpha for p in first.points] == [0, 0.5]
    assert [m.value for m in first.alone] == [0.81, 0.85]
    assert [m.value for m in first.open] == [0.81]
    assert [len(one.points) for one in (second, third)] == [1, 1]


def test_the_figure_marks_them_at_its_edge_and_says_so(run: Callable[..., Results]) -> None:
    results = decided(run)
    figure = tradeoff(results)
    assert figure is not None
    ticks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    shown = [sorted(map(float, line.get_xdata())) for line in ticks]  # type: ignore[arg-type]
    assert [[round(x, 6) for x in one] for one in shown] == [[81, 85], [81, 82], [79, 86]]
    (curve,) = figure.axes[0].collections[:1]
    assert len(curve.get_offsets()) == 2, "no robust accuracy is drawn that was not measured"  # type: ignore[arg-type]
    assert any("clean accuracy alone" in text for text in FIGURES["tradeoff"][1](results))
