"""The files of an archive where each of them can be read by itself.

Those of a directory, of a plain tar and of a zip without compression are read in place. What is
compressed as a whole can only be read from its beginning: it is packed once, into a zip without
compression in the cache; so is a zip that holds anything compressed. A zip has its table at the
end, so half of one is none.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from hardy.console import progress, say
from hardy.data import archive
from hardy.data.archive import Entry, Listing, Member
from hardy.data.cache import home, key_of
from hardy.files import written_whole

_FORMAT = 2  # raise it when what is packed changes: older ones are then not found
_ABANDONED = 3600.0  # seconds without a byte: whoever wrote it is gone


def on_disk(path: Path, wanted: Callable[[str], bool], kind: str) -> Listing:
    """As `archive.listing`, but the bytes of no file are in memory; kind: what is wanted, in a
    word. Raises ValueError as it does, and where the cache has no room for what must be packed.
    """
    path = path.resolve()  # where the files lie is remembered, and read from elsewhere too
    if path.is_dir():
        return archive.listing(path, wanted)
    found = _in_place(path, wanted)
    if found is None:
        found = packed(path, kind, archive.entries(path, wanted))
    files, folders = found
    return Listing(tuple(sorted(files, key=lambda each: each.name)), tuple(sorted(folders)))


def packed(path: Path, kind: str, entries: Iterable[Entry]) -> tuple[list[Member], list[str]]:
    """The files and folders among entries of `path` from a zip without compression in the cache,
    in the order of the entries; gone through where there is no such zip yet, which is said. Raises
    ValueError where they cannot be read and where there is no room."""
    target = home().resolve() / f"{key_of(path, f'{kind} packed {_FORMAT}', None)}.zip"
    if not target.is_file():
        _pack(target, entries, path)
    found = _in_place(target, lambda _: True)
    assert found is not None, "nothing in it is compressed"
    files, folders = found
    return [replace(file, name=_named(file.name)) for file in files], [*map(_named, folders)]


def _pack(target: Path, entries: Iterable[Entry], path: Path) -> None:
    """Whole or not at all."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        if time.time() - part.stat().st_mtime > _ABANDONED:
            part.unlink(missing_ok=True)
    say(f"{path.name}: packed once into {target.parent}, so that single pictures can be read")
    try:
        with (
            progress(f"packing {path.name}, once", 0) as advance,
            written_whole(target) as part,
            zipfile.ZipFile(part, "w") as whole,
        ):
            for name, data in _contents(path, entries):
                # A zip takes no name that is not UTF-8, and cuts others.
                kept = quote(name, errors="surrogateescape")
                if data is None:
                    whole.writestr(zipfile.ZipInfo(f"{kept}/"), b"")
                    continue
                assert isinstance(data, bytes), "a directory is read in place"
                whole.writestr(zipfile.ZipInfo(kept), data)
                advance(1, 0)
    except OSError as error:
        raise ValueError(
            f"{path} is compressed, and to read single pictures it is packed into {target.parent}, "
            f"which failed ({error.strerror or error}): make room, give another folder as "
            "$HARDY_CACHE, or extract it and give the folder"
        ) from error


def _contents(path: Path, entries: Iterable[Entry]) -> Iterator[tuple[str, bytes | Path | None]]:
    """What damage of `path` raises is a ValueError, and no OSError as that of a full disk is."""
    with archive.readable(path):
        for entry in entries:
            yield entry.name, entry.read and entry.read()


def _named(kept: str) -> str:
    return unquote(kept, errors="surrogateescape")


def _in_place(path: Path, wanted: Callable[[str], bool]) -> tuple[list[Member], list[str]] | None:
    """The files and folders, or None where a file is compressed."""
    files: list[Member] = []
    folders: list[str] = []
    with archive.readable(path):
        for entry in archive.entries(path, wanted):
            if entry.spot is None:
                folders.append(entry.name)
                continue
            spot = entry.spot()
            if spot is None:
                return None
            files.append(Member(entry.name, spot))
    return files, folders
