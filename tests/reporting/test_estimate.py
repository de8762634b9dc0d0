"""Quantities of a dry run in the units that a reader takes them in."""

from __future__ import annotations

import pytest

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.estimate import duration, estimate_table, in_bytes, scaled


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01234, "0.0123 s"),
        (59.4, "59.4 s"),
        (59.6, "1 min 0 s"),
        (125.4, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (7 * 3600 + 12 * 60 + 59, "7 h 12 min"),
        (3 * 86400 + 4 * 3600 + 59 * 60, "3 d 4 h"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(960, "960 "), (999.7, "1 k"), (1.111e9, "1.11 G"), (3.9e14, "390 T"), (2.5e16, "25 P")],
)
def test_a_count_has_three_digits(value: float, text: str) -> None:
    assert scaled(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(652, "652 B"), (1000, "0.977 KiB"), (44.7e6, "42.6 MiB"), (139 * 2**30, "139 GiB")],
)
def test_bytes(size: float, text: str) -> None:
    assert in_bytes(size) == text


def test_every_line_says_how_it_came_about() -> None:
    results = Results("train")

    def add(quantity: str, subject: str, value: float, how: str, **setting: float) -> None:
        results.measurements.append(
            Measurement(quantity, value, "train", 50, subject, None, how, dict(setting))
        )

    add("parameters", "all", 11_173_962, "counted")
    add("parameters", "trainable", 11_173_962, "counted")
    add("operations", "forward", 1.111e9, "counted")
    add("operations", "step", 2.55e10, "in a step of 2 pictures", forwards=22.996)
    add("operations", "batch", 3.264e12, "in a step of 2 pictures")
    add("steps", "epoch", 351, "arithmetic")
    add("steps", "run", 38_610, "arithmetic")
    add("memory", "weights", 44.7e6, "arithmetic")
    add("memory", "total", 3 * 2**30, "measured peak")
    add("seconds", "run", 26_000, "of its parts")
    add("operations per second", "step", 1.2e14, "by seconds", share=0.4)
    add("operations per second", "matrix product", 3e14, "by seconds")
    assert estimate_table(results) == [
        ["what", "value", "how"],
        ["parameters", "11,173,962, 11,173,962 of them trained", "counted"],
        ["forward pass of a picture, F", "1.11 GFLOP", "counted"],
        ["training step", "23.00 F a picture, 3.264 TFLOP", "in a step of 2 pictures"],
        ["steps", "351 an epoch, 38,610 in all", "arithmetic"],
        ["memory: weights", "42.6 MiB", "arithmetic"],
        ["memory: total", "3 GiB", "measured peak"],
        ["time: run", "7 h 13 min", "of its parts"],
        ["operations", "120 TFLOP/s, 40 % of a matrix product here", "by seconds"],
    ]
