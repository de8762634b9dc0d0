"""The files of a directory, a zip or a tar, read in memory or in place and never extracted."""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
class Spot:
    """A stretch of bytes of a file: of an archive, those of a member that is not compressed.
    crc: their CRC-32, -1 where the archive has none."""

    file: Path
    start: int
    size: int
    crc: int = -1

    def read(self) -> bytes:
        """The bytes. Raises OSError where they are not those of the CRC."""
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start)
            data = file.read(self.size)
        if self.crc not in (-1, zlib.crc32(data)):
            raise OSError("its bytes do not fit their CRC-32")
        return data


@dataclass(frozen=True)
class Member:
    """One file: its path below the root ('/' on every system) and its bytes, or where they lie."""

    name: str
    source: bytes | Path | Spot

    def open(self) -> BinaryIO:
        if isinstance(self.source, Path):
            return self.source.open("rb")
        return io.BytesIO(self.read())

    def read(self) -> bytes:
        if isinstance(self.source, Path):
            return self.source.read_bytes()
        return self.source.read() if isinstance(self.source, Spot) else self.source


@dataclass(frozen=True)
class Entry:
    """A file or folder of an archive that is being read. read: its bytes. spot: where they lie,
    None of what is compressed. Of a folder both are None."""

    name: str
    read: Callable[[], bytes | Path] | None = None
    spot: Callable[[], Spot | None] | None = None


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
    with readable(path):
        read = ((each.name, each.read and each.read()) for each in entries(path, wanted))
        found = sorted(read, key=lambda entry: entry[0])
    files = tuple(Member(name, source) for name, source in found if source is not None)
    return Listing(files, tuple(name for name, source in found if source is None))


def entries(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """All folders and the files whose names are wanted, one open at a time: of an archive as they
    come, of a directory in an order that hangs on the names alone; to be gone through inside of
    `readable(path)`. Raises ValueError where path is neither a directory
    nor an archive, or holds a member beyond 512 MiB."""
    if path.is_dir():
        return _of_directory(path, wanted)
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a directory, a .zip or a .tar(.gz, .xz)")
    if path.name.lower().endswith(".zip"):
        return _of_zip(path, wanted)
    if path.name.lower().endswith(_TAR):
        return _of_tar(path, wanted)
    raise ValueError(f"{path} is neither a directory nor a .zip or .tar(.gz, .xz): give one")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises ValueError where what is done inside finds the archive damaged."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read ({error}): get it again if it is damaged"
        ) from error


def _clean(name: str) -> str | None:
    """The name in one form; None for hidden ones and those that would point outside."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or any(part.startswith(".") for part in pure.parts):
        return None
    return None if "__MACOSX" in pure.parts or not pure.parts else str(pure)


def _of_directory(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    for top, folders, files in os.walk(path, followlinks=True):
        folders.sort()
        files.sort()
        inside = Path(top).relative_to(path)
        if len(inside.parts) >= _DEPTH:
            folders.clear()
        for names, are_files in ((folders, False), (files, True)):
            for each in names:
                name, file = _clean((inside / each).as_posix()), Path(top) / each
                if name and not are_files:
                    yield Entry(name)
                elif name and wanted(name) and file.is_file():
                    yield Entry(name, lambda file=file: file, lambda: None)


def _of_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:

        def spot(info: zipfile.ZipInfo) -> Spot | None:
            if info.compress_type != zipfile.ZIP_STORED:
                return None
            # The name and the extra field stand between a member's head and its bytes.
            raw.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", raw.read(4))
            start = info.header_offset + 30 + name + extra
            return Spot(path, start, info.file_size, info.CRC)

        for info in archive.infolist():
            name = _clean(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if name and info.is_dir():
                yield Entry(name)
            elif name and wanted(name) and kind in (0, stat.S_IFREG):
                if info.flag_bits & 1:
                    raise ValueError(f"{path} is encrypted ({name}): give it without a password")
                _check_size(path, name, info.file_size)
                yield Entry(name, partial(archive.read, info), partial(spot, info))


def _of_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with tarfile.open(path) as archive:
        plain = isinstance(archive.fileobj, io.BufferedReader)  # of compressed ones it is not

        def read(info: tarfile.TarInfo) -> bytes:
            file = archive.extractfile(info)
            assert file is not None, "a regular member has bytes"
            return file.read()

        def spot(info: tarfile.TarInfo) -> Spot | None:
            return Spot(path, info.offset_data, info.size) if plain and not info.sparse else None

        for info in archive:
            name = _clean(info.name)
            if name and info.isdir():
                yield Entry(name)
            elif name and wanted(name) and info.isreg():
                _check_size(path, name, info.size)
                yield Entry(name, partial(read, info), partial(spot, info))
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
