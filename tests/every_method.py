"""Every method and every wrapper there is: a new file is found by itself."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import typing
from dataclasses import replace
from typing import Any

import hardy.methods.wrappers
from hardy.methods.find import find, make, names
from hardy.methods.protocol import Method, Wrapper


def wrappers() -> list[type[Method]]:
    """What the files in methods/wrappers define, one class each."""
    found = []
    for file in pkgutil.iter_modules(hardy.methods.wrappers.__path__):
        module = importlib.import_module(f"hardy.methods.wrappers.{file.name}")
        own = [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, Method)
            and value.__module__ == module.__name__
        ]
        assert len(own) == 1, f"{file.name} defines {len(own)} wrappers"
        found += own
    return found


def variants(name: str) -> list[Method]:
    """The method with its defaults, and with each other word that one of its fields may be."""
    hints, usual = typing.get_type_hints(find(name)), make(name)
    words = {key: typing.get_args(hint) for key, hint in hints.items() if is_literal(hint)}
    others: list[dict[str, Any]] = [{key: w} for key, choice in words.items() for w in choice]
    return [usual, *(m for other in others if (m := varied(usual, other, others)) != usual)]


def varied(usual: Method, other: dict[str, Any], others: list[dict[str, Any]]) -> Method:
    """The method with another word, and with one more where it is refused alone."""
    for more in ({}, *others):
        with contextlib.suppress(ValueError):
            return replace(usual, **{**more, **other})
    raise AssertionError(f"{usual!r} is refused with {other}, whatever else it is given")


def is_literal(hint: object) -> bool:
    return typing.get_origin(hint) is typing.Literal


def bare_and_wrapped() -> list[Method]:
    """Every variant of every method, alone and in every wrapper with its defaults."""
    bare = [method for name in names() for method in variants(name)]
    kinds: list[Any] = wrappers()
    return bare + [kind(base=method) for kind in kinds for method in bare]


def usual(method: Method) -> bool:
    """Whether a method, or what is wrapped, has its defaults: the others are for slow tests."""
    inner = method.base if isinstance(method, Wrapper) else method
    return inner in [make(name) for name in names()]
