"""MNIST in its idx files, plain or gzipped (LeCun et al. 1998, yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from hardy.data import download
from hardy.data.raw import Part, Raw, checked_labels

_UINT8 = 8


def load(root: Path) -> Raw:
    """The parts that lie in `root` (or root/MNIST/raw); downloaded where there are none.

    Raises ValueError where a file is damaged, is no idx file, or lacks its partner.
    """
    folders = (root, root / "MNIST" / "raw")
    folder = next((each for each in folders if _names(each)), root)
    if not _names(folder):
        download.fetch("mnist", root)
    parts = {
        name: part
        for name, prefix in (("train", "train"), ("test", "t10k"))
        if (part := _part(folder, prefix)) is not None
    }
    if not parts:
        raise ValueError(f"{root} has no train-images-idx3-ubyte(.gz) and its labels: put them in")
    absent = {"train": "t10k", "test": "train"}
    notes = "" if len(parts) == 2 else f"the {absent[next(iter(parts))]} files are not there"
    return Raw(parts, tuple("0123456789"), ", ".join(_names(folder)), notes=notes)


def _names(folder: Path) -> list[str]:
    """The names of the images' files that are there."""
    found = (_found(folder, f"{prefix}-images", 3) for prefix in ("train", "t10k"))
    return [path.name for path in found if path]


def _found(folder: Path, stem: str, dimensions: int) -> Path | None:
    names = (
        f"{stem}{mark}idx{dimensions}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")
    )
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _part(folder: Path, prefix: str) -> Part | None:
    pictures = _found(folder, f"{prefix}-images", 3)
    if pictures is None:
        return None
    answers = _found(folder, f"{prefix}-labels", 1)
    if answers is None:
        raise ValueError(
            f"{folder} has {pictures.name} but no {prefix}-labels-idx1-ubyte(.gz): put it there"
        )
    images, labels = read_idx(pictures, 3), read_idx(answers, 1)
    return Part(images[:, None], checked_labels(labels, 10, len(images), answers.name))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an idx file: two zero bytes, type, rank, sizes (big endian), data.

    Raises ValueError where any of them is wrong or the data are too short or too long.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}): get it again") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise ValueError(
            f"{path} begins with {data[:4].hex() or 'nothing'}, not with the magic number "
            f"0000{_UINT8:02x}{dimensions:02x} of an idx file of rank {dimensions}: get it again"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected = int(np.prod([int(size) for size in shape], dtype=object))
    if len(data) - header != expected:
        sizes = "×".join(map(str, shape))
        raise ValueError(
            f"{path} promises {sizes} bytes but holds {len(data) - header}: get it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
