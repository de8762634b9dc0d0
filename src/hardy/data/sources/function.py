"""Pictures that a Python function of the user's own gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardy.data.from_python.returned import as_raw, checked
from hardy.data.raw import Raw
from hardy.data.splits import DataSet
from hardy.imports import blamed, here_on_path, named

Function = Callable[..., Any]


def is_import_path(spec: str) -> bool:
    """Whether it has the form of `package.module:function`."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", spec) is not None


def name_of(given: str | Function) -> str:
    """What the data set is called: the import path, or the function's own names."""
    if isinstance(given, str):
        return given
    known = given if inspect.isroutine(given) or inspect.isclass(given) else type(given)
    return f"{known.__module__}:{known.__qualname__}"


def load(
    given: str | Function, root: Path, seed: int, image_size: int | None, val_fraction: float
) -> Raw | DataSet:
    """What a function gives, itself or by its import path (the current directory counts).

    It is called with those of the keywords root, seed, image_size and val_fraction that it
    takes. It may return a pair (images, labels): arrays uint8 (N, H, W), (N, H, W, C) or
    (N, C, H, W), and whole numbers or names (N,); a data set whose items are pairs (picture,
    label), as torchvision's are, with class names in `classes` if it has them; a dict of such
    by split, train, val (or validation), test or all, and perhaps `classes`; or a DataSet or Raw
    of hardy, which alone is not resized here.

    Raises ValueError for what is none of these, and for an error in the function or in its
    items, with file and line.
    """
    where = name_of(given)
    function = named(given, "mydata:load") if isinstance(given, str) else given
    offered = {"root": root, "seed": seed, "image_size": image_size, "val_fraction": val_fraction}
    taken = _taken(function, offered, where)
    with here_on_path():
        with blamed(where, _file_of(function)):
            made = function(**taken)
        if isinstance(made, DataSet):
            return made
        if isinstance(made, Raw):
            return checked(made, where)
        return as_raw(made, where, _file_of(function), image_size)


def _taken(function: Function, offered: dict[str, Any], where: str) -> dict[str, Any]:
    """Those of the keywords that it takes."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # nothing is known of functions in C
        return {}
    parameters = signature.parameters.values()
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    taken = {name: offered[name] for name in offered if takes_all or name in signature.parameters}
    try:
        signature.bind(**taken)
    except TypeError as error:
        raise ValueError(
            f"{where} cannot be called with {', '.join(taken) or 'no arguments'} ({error}): give "
            "its other arguments defaults"
        ) from None
    return taken


def _file_of(function: Function) -> Path:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Path(code.co_filename if code else "")
