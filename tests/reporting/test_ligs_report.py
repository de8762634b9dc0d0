"""LIGS and what a run has watched, as tables, words and figures of hand-made results."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardy.evaluation.results import Artifact, Measurement, Results
from hardy.reporting import figures
from hardy.reporting.headline import headline
from hardy.reporting.ligs import (
    about_watched,
    cosines,
    differences,
    ligs_class_table,
    ligs_table,
    watched,
)
from hardy.reporting.tables import markdown, other_table

HOW = {"v": "gaussian", "sigma": 0.01, "loss": "ce", "draws": 1, "seed": 0, "dtype": "fp32"}


def of(subject: str, value: float, **more: object) -> Measurement:
    setting = {**HOW, "dropped": 0.025, **more}
    interval = (value - 0.02, value + 0.02)
    return Measurement("ligs", value, "test", 1000, subject, interval, setting=setting)  # type: ignore[arg-type]


def gain(value: float, half: float) -> Measurement:
    interval = (value - half, value + half)
    return Measurement("ligs gain", value, "test", 990, "at − st", interval, setting={**HOW})


def results(*measurements: Measurement) -> Results:
    return Results("ligs", measurements=list(measurements))


def test_the_table_has_a_row_a_network_and_one_a_difference() -> None:
    found = ligs_table(results(of("st", 0.59), of("at", 0.98), gain(0.39, 0.02)))
    assert found[1:] == [
        ["st", "gaussian, sigma 0.01", "test", "1,000", "0.59 [0.57, 0.61]", "2.50"],
        ["at", "gaussian, sigma 0.01", "test", "1,000", "0.98 [0.96, 1]", "2.50"],
        ["at − st", "gaussian, sigma 0.01", "test", "990", "0.39 [0.37, 0.41]", "–"],
    ]
    attacked = of("st", 0.5, v="adversarial", attack="PGD", norm="linf", eps=8 / 255, steps=10)
    attacked.setting.pop("sigma")
    assert ligs_table(results(attacked))[1][1] == "adversarial, PGD-10, Linf 8/255"
    assert ligs_table(results(of("st", 0.6, epoch=1))) == []


def test_classes_of_one_name_have_a_row_each() -> None:
    def cell(network: str, label: int, value: float) -> Measurement:
        more = {"class": "crane", "label": label}
        return replace(of(network, value, **more), quantity="class ligs", n=10 + label)

    found = ligs_class_table(results(cell("a", 0, 0.5), cell("a", 1, 0.7), cell("b", 1, 0.9)))
    assert found == [
        ["class", "n", "a", "b"],
        ["crane", "10", "0.5 [0.48, 0.52]", "–"],
        ["crane", "11", "0.7 [0.68, 0.72]", "0.9 [0.88, 0.92]"],
    ]


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (gain(0.39, 0.02), "The loss of at is more linear than that of st: +0.39 [0.37, 0.41], "),
        (
            gain(-0.39, 0.02),
            "The loss of at is less linear than that of st: −0.39 [−0.41, −0.37], ",
        ),
        (gain(0.01, 0.02), "at and st differ by no more than chance: +0.01 [−0.01, 0.03], "),
    ],
)
def test_a_difference_is_one_beyond_its_interval_only(measured: Measurement, said: str) -> None:
    assert differences(results(measured)) == [said + "paired on 990 pictures."]


def test_the_headline_names_the_most_and_the_least() -> None:
    one, two, three = of("st", 0.59), of("at", 0.98), of("mid", 0.7)
    place = ", on 1,000 pictures of test (v gaussian, sigma 0.01)."
    assert headline(results(one)) == "st has a LIGS of 0.59 [0.57, 0.61]" + place
    assert headline(results(one, two, gain(0.39, 0.02))) == (
        "at has a LIGS of 0.98 [0.96, 1] and st one of 0.59 [0.57, 0.61]"
        f"{place} The loss of at is more linear than that of st: +0.39 [0.37, 0.41], paired on 990 "
        "pictures."
    )
    assert headline(results(one, two, three)) == (
        "Of 3 nets at has a LIGS of 0.98 [0.96, 1], the most, and st one of 0.59 [0.57, 0.61], "
        f"the least{place}"
    )


def test_all_of_it_stands_in_a_place_of_its_own() -> None:
    found = results(of("st", 0.59), gain(0.1, 0.2), of("st", 0.5, epoch=1))
    assert other_table(found) == []
    assert "## Local input gradient similarity" in markdown(found)


def stored(tmp_path: Path, **arrays: np.ndarray) -> Results:
    kept: dict[str, Any] = {**arrays}
    np.savez(tmp_path / "ligs.npz", **kept)
    found = results(of("st", 0.59))
    found.artifacts = [Artifact("ligs.npz", "ligs values", "0" * 64)]
    return found


def test_the_histogram_is_of_the_means_over_draws(tmp_path: Path) -> None:
    nan = math.nan
    values = np.array([[1.0, 0.5, nan, -0.31], [0, nan, nan, -0.31]], dtype=np.float32)
    found = stored(tmp_path, labels=np.arange(4), **{"st/cosines": values})
    np.testing.assert_allclose(cosines(found, tmp_path)["st"], [0.5, 0.5, -0.31], atol=1e-7)
    figure = figures.ligs_histogram(found, tmp_path)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xlim()[0] == pytest.approx(-0.4)
    shares = axes.patches[0].get_data().values  # type: ignore[attr-defined]
    assert sum(shares) == pytest.approx(100), "no picture is left out"
    assert sorted(share for share in shares if share) == pytest.approx([100 / 3, 200 / 3])
    assert figures.ligs_histogram(results(of("st", 0.59)), tmp_path) is None


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    found = stored(tmp_path, labels=np.arange(3), **{"st/cosines": np.zeros((1, 4))})
    with pytest.raises(ValueError, match="does not hold the ligs values of a run"):
        figures.ligs_histogram(found, tmp_path)


def epoch(quantity: str, number: int, value: float, **more: object) -> Measurement:
    setting = {"epoch": number, **more}
    interval = (value - 0.1, value + 0.1)
    return Measurement(quantity, value, "val", 100, "net", interval, setting=setting)  # type: ignore[arg-type]


def test_watched_quantities_have_curves_accuracies_together() -> None:
    found = Results("train")
    for number in (1, 2, 3):
        chosen = {"chosen": True} if number == 2 else {}
        found.measurements += [
            epoch("clean accuracy", number, 0.5),
            epoch("ligs", number, 0.9 - 0.1 * number, **chosen),
            epoch("rf accuracy", number, 0.6),
            epoch("nrf accuracy", number, 0.1 + 0.1 * number),
        ]
    assert list(watched(found)) == ["ligs", "rf accuracy", "nrf accuracy"]
    figure = figures.watched_curves(found)
    assert figure is not None
    left, right = figure.axes
    assert left.get_title("left") == "LIGS" and right.get_title("left") == "Accuracy, %"
    line, ring = left.lines
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [0.8, 0.7, 0.6])
    assert np.asarray(ring.get_xdata()).tolist() == [2]
    rf, nrf = right.lines
    np.testing.assert_allclose(np.asarray(nrf.get_ydata()), [20, 30, 40])
    assert rf.get_color() != nrf.get_color() != line.get_color()
    alt = about_watched(found)[2]
    assert "LIGS of net from 0.8 [0.7, 0.9] to 0.6 [0.5, 0.7]" in alt
    assert "nrf accuracy of net from 20.00 [10.0, 30.0] to 40.00 [30.0, 50.0]" in alt
    alone = Results("train", measurements=[epoch("clean accuracy", 1, 0.5)])
    assert figures.watched_curves(alone) is None
