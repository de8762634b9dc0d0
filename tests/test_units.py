"""Radii as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardy.units import as_fraction, pixels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.03", 0.03),
        ("1e-3", 0.001),
        ("2", 2.0),
        (".5", 0.5),
    ],
)
def test_numbers_that_people_write(text: str, value: float) -> None:
    assert pixels(text) == value


@pytest.mark.parametrize("text", ["", "eight", "8/255/2", "8//255", "1/0", "nan", "inf", "8,5"])
def test_anything_else_is_named_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number: write a fraction or a decimal") as error:
        pixels(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (2 / 255, "2/255"),
        (1 / 510, "1/510"),
        (0.031, "0.031"),
        (0.5, "0.5"),
        (0.1, "0.1"),
        (1.0, "1"),
        (128 / 255, "128/255"),
        (2 / 225, "0.00888889"),
    ],
)
def test_numbers_are_printed_as_people_write_them(value: float, text: str) -> None:
    assert as_fraction(value) == text


@given(st.integers(1, 509))
def test_half_steps_of_a_byte_come_back(parts: int) -> None:
    assert pixels(as_fraction(parts / 510)) == pytest.approx(parts / 510, abs=1e-12)


@given(st.floats(1e-6, 1000))
def test_any_radius_comes_back_to_six_digits(value: float) -> None:
    assert pixels(as_fraction(value)) == pytest.approx(value, rel=1e-5, abs=1e-8)
