"""Means over seeds: by hand, of what belongs together, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from hardy.evaluation.results import Measurement
from hardy.evaluation.seeds import MEAN, mean_of, means, unshared

T1, T2 = 12.706204736432095, 4.302652729696142  # 97.5 % of Student's t, 1 and 2 degrees of freedom
PGD: dict[str, Any] = {"attack": "PGD", "norm": "linf", "eps": 0.1, "dtype": "fp32"}


def one(quantity: str, value: float, subject: str = "net", **setting: Any) -> Measurement:
    return Measurement(quantity, value, "test", 100, subject, None, "made up", setting)


def test_a_mean_by_hand() -> None:
    """Of 0.50, 0.52, 0.54: 0.52, its squares of deviation sum to 0.0008, std 0.02."""
    same = [one("robust accuracy", v, **PGD, seed=i) for i, v in enumerate((0.50, 0.52, 0.54))]
    found = mean_of(same, "all", seed="0, 1, 2")
    assert (found.quantity, found.subject, found.split, found.n) == (MEAN, "all", "test", 100)
    assert found.value == pytest.approx(0.52)
    half = T2 * 0.02 / 3**0.5
    assert found.interval == pytest.approx((0.52 - half, 0.52 + half))
    assert found.setting.pop("std") == pytest.approx(0.02)
    assert found.setting == {**PGD, "seed": "0, 1, 2", "of": "robust accuracy", "networks": 3}
    assert same[0].setting == {**PGD, "seed": 0}, "left as it was"


@pytest.mark.parametrize(
    ("quantity", "values", "interval"),
    [
        # Half of the interval is T1 * std / sqrt 2 = T1 * difference / 2.
        ("clean accuracy", (0.9, 1.0), (0.95 - T1 * 0.05, 1.0)),
        ("clean accuracy", (0.0, 0.1), (0.0, 0.05 + T1 * 0.05)),
        ("clean accuracy gain", (-0.2, 0.2), (-1.0, 1.0)),
        ("ligs", (0.9, 1.0), (0.95 - T1 * 0.05, 1.0)),
        ("class ligs", (-0.9, 0.9), (-1.0, 1.0)),
        ("ligs gain", (1.0, 1.9), (-2.0, 2.0)),
        ("transfer success gain", (-0.2, 0.2), (-1.0, 1.0)),
        ("mrc", (1.0, 3.0), (2 - T1, 2 + T1)),
    ],
)
def test_an_interval_stays_where_the_quantity_can_be(
    quantity: str, values: tuple[float, float], interval: tuple[float, float]
) -> None:
    found = mean_of([one(quantity, value) for value in values], "all")
    assert found.interval == pytest.approx(interval)


def test_what_belongs_together_is_found_by_name_and_place() -> None:
    """Two attacks, the second with a setting that moves from run to run."""
    runs = [
        [
            one("robust accuracy", 0.2 + i / 10, attack="FGSM", seed=i),
            one("robust accuracy", 0.1 + i / 10, attack="PGD", gained=5 + i, seed=i),
            one("clean accuracy", 0.5, subject="other"),
        ]
        for i in range(2)
    ]
    found = means(runs, (3, 7))
    assert [(m.setting["of"], m.setting.get("attack")) for m in found] == [
        ("robust accuracy", "FGSM"),
        ("robust accuracy", "PGD"),
        ("clean accuracy", None),
    ]
    assert [m.value for m in found] == pytest.approx([0.25, 0.15, 0.5])
    assert [m.subject for m in found] == [
        "mean of 2 seeds: net",
        "mean of 2 seeds: net",
        "mean of 2 seeds: other",
    ]
    assert found[1].setting.keys() == {"attack", "seed", "of", "std", "networks"}
    assert found[1].setting["seed"] == "3, 7"
    assert found[2].interval == (0.5, 0.5), "an accuracy has its mean, however alike"


def test_a_mean_over_corruptions_keeps_what_it_is_of() -> None:
    runs = [
        [
            one("mean corruption accuracy", 0.4 + i / 10, of="standard 15"),
            one("mean corruption accuracy", 0.2, of="noise"),
        ]
        for i in range(2)
    ]
    found = means(runs, (0, 1))
    assert [(m.setting["of"], m.setting["over"]) for m in found] == [
        ("mean corruption accuracy", "standard 15"),
        ("mean corruption accuracy", "noise"),
    ]


def test_what_is_the_same_in_all_runs_is_no_mean() -> None:
    runs = [[one("parameters", 77_754.0, device="cpu", threads=i)] for i in range(2)]
    (found,) = means(runs, (0, 1))
    assert (found.quantity, found.value, found.setting) == (
        "parameters",
        77_754.0,
        {"device": "cpu"},
    )


def test_points_of_curves_and_means_have_no_mean() -> None:
    run = [
        one("clean accuracy", 0.5, epoch=1),
        one("train loss", 0.5, epoch=1),
        one("robust accuracy", 0.5, alpha=0.5),
        one("robust accuracy at alpha", 0.5, alpha=0.5),
        one(MEAN, 0.5, of="clean accuracy"),
    ]
    assert means([run, run], (0, 1)) == [] and unshared([run, run], (0, 1)) == {}


def test_what_is_read_off_a_path_has_a_mean() -> None:
    """Where it was read may differ from run to run."""
    runs = [[one("robust accuracy at equal clean accuracy", 0.5, alpha=a)] for a in (0.1, 0.2)]
    (found,) = means(runs, (0, 1))
    assert found.value == 0.5 and "alpha" not in found.setting


def test_a_cell_that_one_run_lacks_moves_no_other_into_its_place() -> None:
    """One run lacks the surrogate a, the other b: as many cells each, and only c is of both."""
    about = {**PGD, "seed": 0}
    runs = [
        [one("transfer success", value, surrogate=name, **about) for name, value in cells.items()]
        for cells in ({"b": 0.1, "c": 0.2}, {"a": 0.9, "c": 0.4})
    ]
    runs = [[one("clean accuracy", 0.5), *run] for run in runs]
    _, found = means(runs, (0, 1))
    assert (found.setting["surrogate"], found.value) == ("c", pytest.approx(0.3))
    assert unshared(runs, (0, 1)) == {
        "transfer success of net, surrogate b": [0],
        "transfer success of net, surrogate a": [1],
    }


def test_what_only_some_measured_is_named() -> None:
    both = one("clean accuracy", 0.5)
    late = one("clean accuracy", 0.4, "net, last epoch", last=True)
    runs = [[both, late], [both], [both, late]]
    assert [m.subject for m in means(runs, (0, 1, 2))] == ["mean of 3 seeds: net"]
    assert unshared(runs, (0, 1, 2)) == {"net, last epoch": [0, 2]}
