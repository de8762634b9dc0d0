"""The settings of a method as words on a command line: 'beta=6', 'clip=none', 'weights=1,0.5'."""

from __future__ import annotations

import types
import typing
from contextlib import suppress
from typing import Any

from hardy.units import pixels

_WANTED = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a word",
    types.NoneType: "none",
}


def parse(text: str, hint: Any, what: str) -> object:
    """The value of a type that a text stands for.

    Numbers may be fractions (8/255); None is 'none'; the values of a tuple have commas between
    them; of a union, the first kind that fits counts, None before all others.

    Raises ValueError where it stands for none, naming `what` was to be set, or where the type
    is not made of bool, int, float, str, None, Literal, tuples and unions.
    """
    wanted = _wanted(hint, what)
    try:
        return _value(text, hint)
    except (ValueError, OverflowError):
        raise ValueError(f"{what} must be {wanted}, not {text!r}") from None


def _value(text: str, hint: Any) -> object:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _named(text, {str(choice): choice for choice in args})
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(text, sorted(args, key=lambda one: one is not types.NoneType))
    if origin is tuple:
        words = text.split(",") if text else []
        each = args[:1] * len(words) if _any_length(args) else args
        return tuple(_value(word.strip(), one) for word, one in zip(words, each, strict=True))
    if hint is bool:
        return _named(text.lower(), {"true": True, "false": False})
    if hint is types.NoneType:
        return _named(text.lower(), {"none": None})
    return pixels(text) if hint is float else hint(text)


def _named(text: str, values: dict[str, Any]) -> object:
    if text not in values:
        raise ValueError
    return values[text]


def _first_that_fits(text: str, hints: list[Any]) -> object:
    for hint in hints:
        with suppress(ValueError):
            return _value(text, hint)
    raise ValueError


def _any_length(args: tuple[Any, ...]) -> bool:
    return args[-1:] == (...,)


def _wanted(hint: Any, what: str) -> str:
    """What a person may write for a value of the type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_wanted(one, what) for one in args)
    if origin is tuple and _any_length(args):
        return f"values with commas between them, each {_wanted(args[0], what)}"
    if origin is tuple:
        return f"{len(args)} values with commas between them: " + ", ".join(
            _wanted(one, what) for one in args
        )
    if hint not in _WANTED:
        raise ValueError(f"{what} is a {hint}, which has no written form: set it in Python")
    return _WANTED[hint]
