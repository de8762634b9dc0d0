"""Find a method by the name of its file: there is no registry to keep.

`find('pgd_at')` is the class in hardy/methods/pgd_at.py; `find('./mine.py')` the one in a
file of the user's own.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import hardy.methods
from hardy.imports import line_in
from hardy.methods.options import parse
from hardy.methods.protocol import Method

_NOT_METHODS = {"protocol", "find", "options", "teacher", "distillation"}


def names() -> list[str]:
    """The methods that can be asked for by name."""
    found = (m.name for m in pkgutil.iter_modules(hardy.methods.__path__) if not m.ispkg)
    return sorted(set(found) - _NOT_METHODS)


def find(name: str) -> type[Method]:
    """The method of that name, or the only one in the Python file of that path.

    Raises ValueError where there is none, naming the nearest ones.
    """
    module = _from_file(Path(name)) if name.endswith(".py") else _built_in(name)
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if len(own) != 1:
        raise ValueError(f"{name} defines {len(own)} methods: it must define exactly one")
    return own[0]


def make(name: str, options: Sequence[str] = ()) -> Method:
    """A method with settings given as 'key=value', values in the type of the field.

    Raises ValueError for a key that the method does not have, a value of another type, and a
    field without a default that is not given.
    """
    kind = find(name)
    known = {f.name: f for f in fields(kind) if f.init}
    settings = {}
    for option in options:
        key, equals, text = option.partition("=")
        if key not in known:
            choice = ", ".join(known) or "none: it has no settings"
            raise ValueError(f"{name} has no setting {key!r}; it has {choice}")
        if not equals:
            raise ValueError(f"{name}'s {key} has no value: write {key}=…")
        settings[key] = parse(text, _hints(kind, name)[key], f"{name}'s {key}")
    for key, f in known.items():
        if key not in settings and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{name}'s {key} has no default: write {key}=…")
    return kind(**settings)


def _hints(kind: type[Method], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError as error:
        raise ValueError(f"{name}: {error}: import what the annotations need") from None


def _built_in(name: str) -> ModuleType:
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=2, cutoff=0.3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"no method {name!r}: there are {', '.join(names())}{hint}")
    return importlib.import_module(f"hardy.methods.{name}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"no method file {path}: give the path of a Python file")
    spec = importlib.util.spec_from_file_location(f"hardy_method_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code: whatever is wrong is theirs to see
        where = error.lineno if isinstance(error, SyntaxError) else line_in(error, path)
        raise ValueError(
            f"{path}, line {where}: {type(error).__name__}: {error}: correct the file"
        ) from error
    return module
