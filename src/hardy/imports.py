"""Modules of the user's own, by the name that they gave: nothing else is ever imported."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any


def named(spec: str, example: str) -> Any:
    """What can be called by an import path `package.module:name`, the current directory first
    on the path.

    example: an import path that errors show. Raises ValueError, with the nearest names, where
    there is no such module or nothing to call in it.
    """
    module_name, _, name = spec.partition(":")
    module = module_of(module_name, example)
    if not callable(getattr(module, name, None)):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"{module_name} has no function {name!r}{nearest(name, names)}")
    return getattr(module, name)


def module_of(name: str, example: str) -> ModuleType:
    """Import a module, the current directory first on the path. Raises ValueError as `named`."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"{name!r} is not the name of a module: write {example}, or package.{example}"
        )
    with here_on_path() as here:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            # The module itself, or a parent of it, is not there ...
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                near = [module.name for module in pkgutil.iter_modules([here])]
                raise ValueError(
                    f"there is no module {name!r} on the path or in the current "
                    f"directory{nearest(name, near)}"
                ) from None
            # ... or it is, and needs another.
            raise ValueError(f"module {name!r} cannot be imported: {error}") from error
        except Exception as error:  # the user's own code: whatever is wrong is theirs to see
            raise ValueError(f"{place_of(error, Path())}: correct the file") from error


@contextmanager
def here_on_path() -> Iterator[str]:
    """The current directory is first on the path for imports."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield here
    finally:
        sys.path.remove(here)


def nearest(name: str, names: Iterable[str]) -> str:
    """The names that are nearly this one, in brackets; nothing where there are none."""
    near = difflib.get_close_matches(name, list(names), n=3)
    return f" (nearest: {', '.join(near)})" if near else ""


@contextmanager
def blamed(what: str, file: Path) -> Iterator[None]:
    """Raises ValueError, one line with its place, for any error of a user's own code inside.

    what: how the line begins. file: that of the code.
    """
    try:
        yield
    except Exception as error:  # whatever is wrong is theirs to see
        raise ValueError(f"{what}: {place_of(error, file)}: correct it there") from error


def place_of(error: BaseException, file: Path) -> str:
    """A file, the line of it that an error came through, and the error; where it came through
    none of it, the place that it was raised in."""
    frames = traceback.extract_tb(error.__traceback__)
    line = line_in(error, file)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = Path(error.filename), error.lineno or "?"
    elif line == "?" and frames:
        file, line = Path(frames[-1].filename), frames[-1].lineno or "?"
    said = str(error).splitlines()[0] if str(error) else "no more is said"
    return f"{file}, line {line}: {type(error).__name__}: {said}"


def line_in(error: BaseException, path: Path) -> int | str:
    """The last line of a file that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path and frame.lineno]
    return lines[-1] if lines else "?"
