"""Picture files as a source of pictures: each is decoded when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardy.data.archive import Member, Spot
from hardy.data.pictures import decoded
from hardy.data.streaming.stream import hashes_of


@dataclass(frozen=True)
class Files:
    """Where many files lie, in a few arrays: objects of their own would take a kilobyte each.

    place: the directory that they are in, or the one file that holds them all. names: the paths
    below it, UTF-8 (bytes,), one after another, and bytes that are no UTF-8 as they are; ends:
    int64 (N,), where each stops. spots: int64 (N, 3), start, size and CRC-32 (-1: not known) of
    each in the one file; (0, 3) for a directory.
    """

    place: Path
    names: np.ndarray
    ends: np.ndarray
    spots: np.ndarray

    @classmethod
    def of(cls, members: Sequence[Member], place: Path) -> Files:
        """The files of a directory, or those that lie in one file."""
        names = [member.name.encode("utf-8", "surrogateescape") for member in members]
        held = [member.source for member in members if isinstance(member.source, Spot)]
        spots = [(spot.start, spot.size, spot.crc) for spot in held]
        assert len(spots) in (0, len(members)), "they lie in one place"
        return cls(
            held[0].file if held else place,
            np.frombuffer(b"".join(names), np.uint8),
            np.cumsum([len(name) for name in names], dtype=np.int64),
            np.array(spots, np.int64).reshape(-1, 3),
        )

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, row: int) -> str:
        """The path of a file below the place."""
        start = self.ends[row - 1] if row else 0
        return self.names[start : self.ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def read(self, row: int) -> bytes:
        """The bytes of a file. Raises ValueError where it is gone or damaged."""
        name = self.name(row)
        try:
            if len(self.spots):
                return Spot(self.place, *self.spots[row].tolist()).read()
            return (self.place / name).read_bytes()
        except OSError as error:
            raise ValueError(
                f"{name} of {self.place} cannot be read ({error.strerror or error}): "
                "put it back whole and start again"
            ) from error


@dataclass(frozen=True)
class Encoded:
    """The pictures of files, decoded as `pictures.decode` would.

    shape: C, H, W of each. image_size: what they are resized to, None where they have that size.
    known: `stream.hashes_of` all of them, once they have been looked through.
    """

    files: Files
    shape: tuple[int, int, int]
    image_size: int | None
    known: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Decode the pictures of some rows into out. Raises ValueError, naming the file, for one
        that cannot be read, has another size than the others or is not the one that is known."""
        for place, row in enumerate(rows.tolist()):
            name = self.files.name(row)
            picture = decoded(self.files.read(row), name, self.shape[0], self.image_size)
            if picture.shape != self.shape:
                raise self._changed(name, f"{picture.shape} and not {self.shape}")
            if self.known is not None and hashes_of(picture[None])[0] != self.known[row]:
                raise self._changed(name, "another one")
            out[place] = picture

    def _changed(self, name: str, what: str) -> ValueError:
        return ValueError(
            f"{name} of {self.files.place} has changed since it was looked at: its picture is "
            f"{what}; put it back and start again"
        )

    def hashes(self) -> np.ndarray | None:
        """Of all pictures, once they have been looked through."""
        return self.known
