"""What a run says of itself without the paths of this machine, so that it can be published."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

# Where a path in a text begins, and what is in none.
_BEGIN = r"(?<![\w./~)\]%-])"
_INSIDE = r"[^\s'\"`,;:()\[\]{}<>|]"
_ABSOLUTE = re.compile(
    rf"file://{_INSIDE}+|{_BEGIN}/(?!/){_INSIDE}+"  # POSIX; the slashes of https:// are no path
    rf"|(?<![\w./~:-])//{_INSIDE}+"  # a share of the network
    rf"|(?<![A-Za-z0-9])[A-Za-z]:[\\/](?!/){_INSIDE}*|{_BEGIN}\\\\{_INSIDE}+"  # drives and shares
)


def without_paths(value: Any, known: Iterable[str] = ()) -> Any:
    """JSON with every absolute path in its texts cut to its last part, the home directory to ~
    and the current one to nothing.

    known: paths that may stand in the middle of a sentence with spaces in them.
    """
    cuts = [(path, _last(path)) for path in known]
    cuts += [(str(Path.home()), "~"), (str(Path.cwd()), ".")]
    # Of two that begin alike the longer one; and no text is cut at a mere /.
    cuts = sorted(
        (cut for cut in cuts if len(PurePath(cut[0]).parts) > 2), key=lambda c: -len(c[0])
    )
    patterns = [(re.compile(rf"{_BEGIN}{re.escape(path)}(?![\w-]|\.\w)"), to) for path, to in cuts]
    return _cut(value, patterns)


def paths_in(config: Mapping[str, Any]) -> set[str]:
    """The absolute paths that are whole values of a run's configuration, behind a kind or a role
    (`folder:`, `robust=`) too, or whole words of its command."""
    found = set()
    for text in _texts(config):
        words = [text]
        with contextlib.suppress(ValueError):  # no command
            words += shlex.split(text)
        for word in words:
            path = re.sub(r"^(--?)?[\w-]{2,}[:=]", "", word)
            if PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
                found.add(path.rstrip("/\\") or path)
    return found


def must_hold_none(folder: Path, known: Iterable[str]) -> None:
    """Raises ValueError where a file below the folder holds one of these paths, the home directory
    or the current one all the same."""
    paths = {*known, str(Path.home()), str(Path.cwd())}
    looked = [path.encode() for path in paths if len(PurePath(path).parts) > 2]
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = file.read_bytes()
        for path in looked:
            if path in content:
                raise ValueError(
                    f"{file.relative_to(folder)} would publish {path.decode()}, a path of this "
                    "machine: run it from another folder, or give paths that are relative"
                )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _cut(value: Any, patterns: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, str):
        for pattern, to in patterns:
            value = pattern.sub(lambda _, to=to: to, value)
        return _ABSOLUTE.sub(lambda found: _last(found[0]), value)
    if isinstance(value, Mapping):
        return {_cut(name, patterns): _cut(each, patterns) for name, each in value.items()}
    return [_cut(each, patterns) for each in value] if isinstance(value, list | tuple) else value


def _last(path: str) -> str:
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1]
