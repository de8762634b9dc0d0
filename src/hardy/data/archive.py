"""The files of a directory, a zip or a tar, read in memory and never extracted."""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_DEPTH = 6  # directories deeper than any layout here; it also ends a loop of links
_MOST_BYTES = 1 << 29  # of one archive member: three times the largest published batch
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,  # a zip method that Python does not know
    OSError,
)


@dataclass(frozen=True)
class Member:
    """One file: its path below the root ('/' on every system) and its bytes, or where they lie."""

    name: str
    source: bytes | Path

    def open(self) -> BinaryIO:
        if isinstance(self.source, Path):
            return self.source.open("rb")
        return io.BytesIO(self.source)

    def read(self) -> bytes:
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source


@dataclass(frozen=True)
class Listing:
    """The wanted files, sorted by name, and the names of all folders."""

    files: tuple[Member, ...]
    folders: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Whether the name of a file is that of an archive that can be read here."""
    return path.is_file() and path.name.lower().endswith((*_TAR, ".zip"))


def stem(path: Path) -> str:
    """The name of a directory or an archive without what tells its kind."""
    lower = path.name.lower()
    endings = [each for each in (*_TAR, ".zip") if lower.endswith(each)]
    return path.name[: -max(map(len, endings))] if endings and not path.is_dir() else path.name


def listing(path: Path, wanted: Callable[[str], bool]) -> Listing:
    """The files of `path` whose names are wanted; hidden ones, links and others are passed over.

    A directory's files are read when they are needed, an archive's at once. Raises
    ValueError where path is neither, is damaged, or holds a member beyond 512 MiB.
    """
    if path.is_dir():
        entries = _of_directory(path, wanted)
    elif not path.exists():
        raise ValueError(f"{path} does not exist: give a directory, a .zip or a .tar(.gz, .xz)")
    elif path.name.lower().endswith(".zip"):
        entries = _of_zip(path, wanted)
    elif path.name.lower().endswith(_TAR):
        entries = _of_tar(path, wanted)
    else:
        raise ValueError(f"{path} is neither a directory nor a .zip or .tar(.gz, .xz): give one")
    try:
        found = sorted(entries, key=lambda entry: entry[0])
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read ({error}): get it again if it is damaged"
        ) from error
    files = tuple(Member(name, source) for name, source in found if source is not None)
    return Listing(files, tuple(name for name, source in found if source is None))


def _clean(name: str) -> str | None:
    """The name in one form; None for hidden ones and those that would point outside."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or any(part.startswith(".") for part in pure.parts):
        return None
    return None if "__MACOSX" in pure.parts or not pure.parts else str(pure)


def _of_directory(
    path: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes | Path | None]]:
    for top, folders, files in os.walk(path, followlinks=True):
        inside = Path(top).relative_to(path)
        if len(inside.parts) >= _DEPTH:
            folders.clear()
        for names, are_files in ((folders, False), (files, True)):
            for each in names:
                name = _clean((inside / each).as_posix())
                if name and not are_files:
                    yield name, None
                elif name and wanted(name) and (Path(top) / each).is_file():
                    yield name, Path(top) / each


def _of_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _clean(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if name and info.is_dir():
                yield name, None
            elif name and wanted(name) and kind in (0, stat.S_IFREG):
                if info.flag_bits & 1:
                    raise ValueError(f"{path} is encrypted ({name}): give it without a password")
                _check_size(path, name, info.file_size)
                yield name, archive.read(info)


def _of_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None]]:
    with tarfile.open(path) as archive:
        for info in archive:
            name = _clean(info.name)
            if name and info.isdir():
                yield name, None
            elif name and wanted(name) and info.isreg():
                _check_size(path, name, info.size)
                file = archive.extractfile(info)
                assert file is not None, "a regular member has bytes"
                yield name, file.read()
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Tarfile takes a cut header for the end without a word, and pictures would be lost."""
    file = archive.fileobj
    assert file is not None, "the archive is open"
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it breaks off")
    while file.read(1 << 20):  # the checksum of a compressed file stands at its end
        pass


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(
            f"{name} in {path} has {size:,} bytes, more than the {_MOST_BYTES:,} that are read: "
            "extract it yourself if you trust it"
        )
