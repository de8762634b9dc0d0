"""Settings as words: every type that a method's field may have."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from hardy.methods.options import parse
from hardy.methods.protocol import Method

Kind = Literal["kl", "ce"]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("0.5", float, 0.5),
        ("1e-3", float, 0.001),
        ("8/255", float, 8 / 255),
        ("-2", float, -2.0),
        ("3", int, 3),
        ("-3", int, -3),
        ("true", bool, True),
        ("False", bool, False),
        ("kl", Kind, "kl"),
        ("2", Literal[1, 2], 2),
        ("mean=a b", str, "mean=a b"),
        ("none", float | None, None),
        ("None", int | None, None),
        ("0.5", float | None, 0.5),
        ("none", None | float, None),
        ("none", str | None, None),
        ("some", str | None, "some"),
        ("ce", float | Kind, "ce"),
        ("2", float | Kind, 2.0),
        ("1,0.5,8/255", tuple[float, ...], (1.0, 0.5, 8 / 255)),
        ("1, 2", tuple[int, ...], (1, 2)),
        ("7", tuple[int, ...], (7,)),
        ("", tuple[float, ...], ()),
        ("1,kl", tuple[int, Kind], (1, "kl")),
        ("none", tuple[float, ...] | None, None),
        ("1,none", tuple[float | None, ...], (1.0, None)),
    ],
)
def test_a_text_and_its_value(text: str, hint: Any, value: object) -> None:
    found = parse(text, hint, "mine's beta")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "wanted"),
    [
        ("much", float, "a number"),
        ("", float, "a number"),
        ("nan", float, "a number"),
        ("inf", float, "a number"),
        ("1e999", float, "a number"),
        ("1/0", float, "a number"),
        ("1.5", int, "a whole number"),
        ("yes", bool, "true or false"),
        ("KL", Kind, "one of kl, ce"),
        ("3", Literal[1, 2], "one of 1, 2"),
        ("much", float | None, "a number or none"),
        ("", float | None, "a number or none"),
        ("7.5", int | Kind, "a whole number or one of kl, ce"),
        ("1,,2", tuple[float, ...], "values with commas between them, each a number"),
        ("1,a", tuple[int, ...], "values with commas between them, each a whole number"),
        ("1", tuple[float, float], "2 values with commas between them: a number, a number"),
        ("1,2,3", tuple[int, str], "2 values with commas between them: a whole number, a word"),
    ],
)
def test_a_text_that_does_not_fit(text: str, hint: Any, wanted: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text, hint, "mine's beta")
    assert str(error.value) == f"mine's beta must be {wanted}, not {text!r}"


@pytest.mark.parametrize("hint", [Method, dict, tuple, list[int], dict[str, int] | None])
def test_a_type_without_a_written_form_says_so(hint: Any) -> None:
    with pytest.raises(ValueError, match=r"^mine's base is a .* has no written form: set it in"):
        parse("1", hint, "mine's base")
