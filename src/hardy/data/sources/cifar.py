"""CIFAR-10 and CIFAR-100 in the published python and binary formats (Krizhevsky 2009).

Both as the .tar.gz or as the directory in it; batches may be shorter than the official ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardy.data import archive, download
from hardy.data.raw import Part, Raw, checked_labels, resident
from hardy.data.unpickle import read_pickle, text

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Kind:
    """What tells one CIFAR from the other; label_bytes: before each picture, the last counts."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    label_key: str
    names_key: str
    names_file: str
    label_bytes: int
    classes: int
    official: tuple[int, int] = (50_000, 10_000)


CIFAR10 = Kind(
    name="cifar10",
    folder="cifar-10",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    label_key="labels",
    names_key="label_names",
    names_file="batches.meta.txt",
    label_bytes=1,
    classes=10,
)
CIFAR100 = Kind(
    name="cifar100",
    folder="cifar-100",
    train=("train",),
    test="test",
    meta="meta",
    label_key="fine_labels",
    names_key="fine_label_names",
    names_file="fine_label_names.txt",
    label_bytes=2,
    classes=100,
)


def load(root: Path, kind: Kind) -> Raw:
    """train and test of the archive or directory that `root` is or holds; downloaded if absent.

    Raises ValueError for pickles that ask for code, wrong widths, counts and labels.
    """
    path = _located(root, kind)
    if path is None:
        download.fetch(kind.name, root)
        path = _located(root, kind)
    assert path is not None, "the download puts the archive where it is looked for"
    files = _files(path, kind)
    binary = f"{kind.test}.bin" in files
    ending, read = (".bin", _read_binary) if binary else ("", _read_python)
    train = [name + ending for name in kind.train if name + ending in files]
    test = kind.test + ending
    if not train or test not in files:
        lacking = test if train else kind.train[0]
        raise ValueError(f"{path} has no {lacking}: expected the files of {kind.folder}-python")
    classes = _classes(files, kind, path)
    parts = {
        "train": _joined([read(files[name], kind, f"{path.name}/{name}") for name in train]),
        "test": read(files[test], kind, f"{path.name}/{test}"),
    }
    counts = tuple(len(part.labels) for part in parts.values())
    notes = "" if counts == kind.official else f"{counts[0]:,} + {counts[1]:,} of 60,000 pictures"
    return Raw(parts, classes, path.name, kind.name, notes)


def _located(root: Path, kind: Kind) -> Path | None:
    if archive.is_archive(root):
        return root
    places = [root, *sorted(root.glob(f"{kind.folder}-*"))]
    for place in places:
        if (place / kind.test).is_file() or (place / f"{kind.test}.bin").is_file():
            return place
    archives = [place for place in places[1:] if archive.is_archive(place)]
    for place in archives:
        if archive.stem(place) in (f"{kind.folder}-python", f"{kind.folder}-binary"):
            return place
    if len(archives) > 1:
        names = ", ".join(each.name for each in archives)
        raise ValueError(f"{root} has several archives ({names}): pass one as --data-root")
    return archives[0] if archives else None


def _files(path: Path, kind: Kind) -> dict[str, bytes]:
    batches = (*kind.train, kind.test)
    names = {*batches, *(f"{name}.bin" for name in batches), kind.meta, kind.names_file}

    def wanted(name: str) -> bool:
        return name.rpartition("/")[2] in names

    found = archive.listing(path, wanted).files
    return {member.name.rpartition("/")[2]: member.read() for member in found}


def _read_python(data: bytes, kind: Kind, where: str) -> Part:
    content = read_pickle(data, where)
    pictures, labels = content.get("data"), content.get(kind.label_key)
    if not isinstance(pictures, np.ndarray) or not isinstance(labels, list | np.ndarray):
        raise ValueError(f"{where} lacks 'data' or {kind.label_key!r}: expected a {kind.name} file")
    if pictures.dtype != np.uint8 or pictures.ndim != 2 or pictures.shape[1] != _PIXELS:
        raise ValueError(
            f"{where} has pictures {pictures.dtype} {pictures.shape}, expected uint8 (N, {_PIXELS})"
        )
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"{where} has labels that are no whole numbers: get it again")
    return _part(pictures, numbers, kind, where)


def _read_binary(data: bytes, kind: Kind, where: str) -> Part:
    width = kind.label_bytes + _PIXELS
    if len(data) == 0 or len(data) % width:
        raise ValueError(
            f"{where} has {len(data)} bytes, no multiple of the {width} of a record: get it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, width)
    return _part(records[:, kind.label_bytes :], records[:, kind.label_bytes - 1], kind, where)


def _part(pictures: np.ndarray, labels: np.ndarray, kind: Kind, where: str) -> Part:
    images = pictures.reshape(-1, 3, 32, 32)
    return Part(np.array(images), checked_labels(labels, kind.classes, len(images), where))


def _joined(parts: list[Part]) -> Part:
    images = np.concatenate([resident(part) for part in parts])
    return Part(images, np.concatenate([part.labels for part in parts]))


def _classes(files: dict[str, bytes], kind: Kind, path: Path) -> tuple[str, ...]:
    names: Any
    if kind.meta in files:
        names = read_pickle(files[kind.meta], f"{path.name}/{kind.meta}").get(kind.names_key)
    elif kind.names_file in files:
        names = files[kind.names_file].split()
    else:
        names = [str(number) for number in range(kind.classes)]
    if not isinstance(names, list) or len(names) != kind.classes:
        raise ValueError(f"{path} does not name {kind.classes} classes: expected {kind.name}")
    return tuple(text(name) for name in names)
