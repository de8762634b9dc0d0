"""Tiny-ImageNet-200 in its official layout (Stanford CS231n), or a part of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardy.data import archive, download
from hardy.data.archive import Listing, Member
from hardy.data.cache import cached
from hardy.data.pictures import decode, is_picture
from hardy.data.raw import Part, Raw
from hardy.data.streaming.looked import Labelled, streamed
from hardy.data.streaming.packed import on_disk
from hardy.data.streaming.room import RESIDENT, Streaming, needed

_TABLES = ("wnids.txt", "words.txt", "val_annotations.txt")


def load(
    root: Path,
    image_size: int | None = None,
    channels: int | None = None,
    streaming: Streaming = RESIDENT,
) -> Raw:
    """train and val (whose labels are published, so it serves as test), RGB.

    `root` is the zip or the directory with wnids.txt, or the folder that holds it;
    downloaded where it is not there. Classes are in the order of wnids.txt, named by
    words.txt if that is there. channels: of what is streamed. Raises ValueError where the
    layout is another.
    """
    path = _located(root)
    if path is None:
        download.fetch("tiny-imagenet", root)
        path = root / "tiny-imagenet-200.zip"
    place = path
    if streaming.chosen(place.name, lambda: needed(place, _wanted, image_size)):

        def build() -> tuple[Labelled, Raw]:
            return _assigned(on_disk(place, _wanted, "tiny-imagenet"), place)

        depth = 3 if channels is None else channels  # its few grey pictures are coloured too
        raw = streamed(place, "tiny-imagenet", image_size, depth, streaming.workers, build)
        return replace(raw, flips=None) if channels is None else raw
    return cached(place, "tiny-imagenet", image_size, lambda: _build(place, image_size))


def _located(root: Path) -> Path | None:
    if archive.is_archive(root) or (root / "wnids.txt").is_file():
        return root
    if (root / "tiny-imagenet-200" / "wnids.txt").is_file():
        return root / "tiny-imagenet-200"
    if (root / "tiny-imagenet-200.zip").is_file():
        return root / "tiny-imagenet-200.zip"
    others = sorted(root.glob("tiny-imagenet*.zip"))
    if len(others) > 1:
        names = ", ".join(each.name for each in others)
        raise ValueError(f"{root} has several archives ({names}): pass one as --data-root")
    return others[0] if others else None


def _build(path: Path, image_size: int | None) -> Raw:
    labelled, about = _assigned(archive.listing(path, _wanted), path)
    (train, train_labels), (val, val_labels) = labelled["train"], labelled["val"]
    images = decode([*train, *val], image_size, channels=3)
    parts = {
        "train": Part(images[: len(train)], train_labels),
        "val": Part(images[len(train) :], val_labels),
    }
    return replace(about, parts=parts)


def _assigned(found: Listing, path: Path) -> tuple[Labelled, Raw]:
    """The files of train and val and their classes; and, without parts, what else is known."""
    files = _members(found.files, path)
    wnids = _lines(files, "wnids.txt", path)
    place = {wnid: number for number, wnid in enumerate(wnids)}
    train, train_labels = _train(files, place, path)
    val, val_labels = _val(files, place, path)
    labelled = {
        "train": (train, np.array(train_labels, np.int64)),
        "val": (val, np.array(val_labels, np.int64)),
    }
    notes = "" if len(wnids) == 200 else f"{len(wnids)} of the 200 classes"
    return labelled, Raw({}, _names(files, wnids, path), path.name, "imagenet", notes)


def _wanted(name: str) -> bool:
    """The unlabelled test is left out."""
    if name.rpartition("/")[2] in _TABLES:
        return True
    return is_picture(name) and "test" not in name.split("/")


def _members(files: Sequence[Member], path: Path) -> dict[str, Member]:
    """The files by their names below the folder of wnids.txt."""
    tables = [each.name for each in files if each.name.rpartition("/")[2] == "wnids.txt"]
    if len(tables) != 1:
        raise ValueError(
            f"{path} is not Tiny-ImageNet: expected one wnids.txt beside train and val, "
            f"found {len(tables)}"
        )
    prefix = tables[0].removesuffix("wnids.txt")
    return {each.name.removeprefix(prefix): each for each in files if each.name.startswith(prefix)}


def _lines(files: dict[str, Member], name: str, path: Path) -> list[str]:
    if name not in files:
        raise ValueError(f"{path} has no {name}: expected the layout of tiny-imagenet-200")
    try:
        lines = files[name].read().decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} in {path} is no text: get it again") from error
    return [line.strip() for line in lines if line.strip()]


def _train(
    files: dict[str, Member], place: dict[str, int], path: Path
) -> tuple[list[Member], list[int]]:
    by_class: dict[str, list[Member]] = {wnid: [] for wnid in place}
    for name, member in files.items():
        parts = name.split("/")
        if len(parts) == 4 and parts[0] == "train" and parts[2] == "images":
            if parts[1] not in by_class:
                raise ValueError(f"{name} in {path} is of a class that wnids.txt does not name")
            by_class[parts[1]].append(member)
    for wnid, members in by_class.items():
        if not members:
            raise ValueError(f"{path} has no pictures in train/{wnid}/images: fill it")
    labels = [place[wnid] for wnid, members in by_class.items() for _ in members]
    return [each for members in by_class.values() for each in members], labels


def _val(
    files: dict[str, Member], place: dict[str, int], path: Path
) -> tuple[list[Member], list[int]]:
    rows = [line.split("\t") for line in _lines(files, "val/val_annotations.txt", path)]
    wnid_of = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
    found = {
        name.removeprefix("val/images/"): each
        for name, each in files.items()
        if name.startswith("val/images/")
    }
    if differing := sorted(set(found) ^ set(wnid_of)):
        raise ValueError(
            f"val/images and val_annotations.txt of {path} differ in {differing[0]}: get it again"
        )
    if strange := sorted(set(wnid_of.values()) - set(place)):
        raise ValueError(
            f"val_annotations.txt of {path} has the class {strange[0]} that wnids.txt does not name"
        )
    return list(found.values()), [place[wnid_of[name]] for name in found]


def _names(files: dict[str, Member], wnids: list[str], path: Path) -> tuple[str, ...]:
    """The first word for each class; where two share it, with the wnid."""
    if "words.txt" not in files:
        return tuple(wnids)
    rows = [line.split("\t") for line in _lines(files, "words.txt", path)]
    words = {row[0]: row[1].split(",")[0].strip() for row in rows if len(row) > 1}
    names = [words.get(wnid, wnid) for wnid in wnids]
    counts = Counter(names)
    return tuple(
        f"{name} ({wnid})" if counts[name] > 1 else name
        for name, wnid in zip(names, wnids, strict=True)
    )
