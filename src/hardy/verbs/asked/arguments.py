"""What is asked of a verb: as the keywords of its function, and whether each value may be."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

# What a number may be, the same in every verb that has it.
_AT_LEAST = {
    "accumulate": 1,
    "awp": 0,
    "awp_warmup": 0,
    "batch_size": 1,
    "check_pictures": 1,
    "choose_pictures": 1,
    "corruption_pictures": 1,
    "curve_pictures": 0,
    "curve_points": 2,
    "devices": 1,
    "draws": 1,
    "epochs": 1,
    "eps_warmup": 0,
    "equal_clean_epochs": 1,
    "equal_clean_pictures": 1,
    "eval_steps": 1,
    "extra_limit": 1,
    "image_size": 1,
    "input_size": 1,
    "inversion_steps": 1,
    "k": 1,
    "keep_epochs": 1,
    "ligs_pictures": 0,
    "ligs_weight": 0,
    "limit": 1,
    "milestones": 0,
    "momentum": 0,
    "mrc_pictures": 0,
    "preflight_pictures": 0,
    "probe_epochs": 0,
    "restarts": 1,
    "steps": 1,
    "teacher_pictures": 0,
    "test_limit": 1,
    "tolerance": 0,
    "val_pictures": 1,
    "weight_decay": 0,
    "workers": 0,
}
_POSITIVE = {  # with a usual value
    "eps": "8/255",
    "equal_clean_lr": "0.01",
    "eval_eps": "8/255",
    "eval_step_size": "2/255",
    "inversion_step_size": "0.1",
    "ligs_sigma": "0.01",
    "lr": "0.01",
    "mrc_step_size": "2/255",
    "radius": "0.1",
    "sigma": "0.01",
    "step_size": "2/255",
}
_SHARES = {"average_decay": "[0, 1)", "average_start": "[0, 1)", "extra_fraction": "(0, 1)"}

_ONE_OR_SEVERAL = {"teacher", "teacher_model", "teacher_normalize"}  # each of them mostly one


def keywords(kind: Callable[P, C], run: Callable[[C], R]) -> Callable[P, R]:
    """`run`, which takes a configuration, as a function of that configuration's fields."""

    name = kind.__name__.lower()

    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        if args:
            raise TypeError(f"hardy.{name}() takes keywords only: hardy.{name}(out=…, …)")
        try:
            asked = kind(*args, **kwargs)
        except TypeError as error:
            said = str(error).replace(f"{kind.__name__}.__init__()", f"hardy.{name}()")
            raise TypeError(said) from None
        return run(asked)

    verb.__name__ = verb.__qualname__ = name
    verb.__doc__ = kind.__doc__
    vars(verb)["__signature__"] = inspect.signature(kind)
    return verb


def check(asked: Any) -> None:
    """Raises ValueError for a number out of range, a word that is no choice or one value where
    several are due, naming the flag. What only one verb asks for is checked there."""
    for name, hint in typing.get_type_hints(type(asked)).items():
        flag = "--" + name.replace("_", "-")
        value = getattr(asked, name)
        # A word is a sequence too: its letters would be taken for the values.
        several = typing.get_origin(hint) is tuple and name not in _ONE_OR_SEVERAL
        if several and _is_one(value):
            raise ValueError(f"{flag}: give several in a tuple: {name}=({value!r},)")
        for one in value if isinstance(value, tuple | list) else (value,):
            if one is None:
                continue
            if name in _AT_LEAST and not _AT_LEAST[name] <= one < math.inf:
                raise ValueError(f"{flag} must be at least {_AT_LEAST[name]}, not {one}")
            if name in _POSITIVE and not 0 < one < math.inf:
                raise ValueError(f"{flag} must be positive, such as {_POSITIVE[name]}, not {one:g}")
            if name in _SHARES and not (0 < one < 1 or (one == 0 and _SHARES[name][0] == "[")):
                raise ValueError(f"{flag} must lie in {_SHARES[name]}, not {one:g}")
            if name == "seed" and not 0 <= one < 2**63:
                raise ValueError(f"{flag} must lie between 0 and 2**63 - 1, not {one}")
            if (choices := _choices(hint)) and one not in choices:
                raise ValueError(f"{flag} must be one of {', '.join(choices)}, not {one!r}")


def _is_one(value: object) -> bool:
    return isinstance(value, str | Path | int | float)


def _choices(hint: Any) -> tuple[str, ...]:
    """The words that a type allows; none where it is not a choice."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    if type(None) in (options := typing.get_args(hint)):
        hint = options[0]
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
