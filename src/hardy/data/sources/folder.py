"""Pictures in folders, `<split>/<class>/*.png`, or in an archive of such folders."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardy.data import archive
from hardy.data.archive import Listing, Member
from hardy.data.arrays import SPLITS
from hardy.data.cache import cached
from hardy.data.made import PROVENANCE, as_made
from hardy.data.pictures import SUFFIXES, decode, is_picture
from hardy.data.raw import Part, Raw
from hardy.data.streaming.looked import Labelled, streamed
from hardy.data.streaming.packed import on_disk
from hardy.data.streaming.room import RESIDENT, Streaming, needed

_LAYOUT = "expected <split>/<class>/<picture> with splits train, val, test, or <class>/<picture>"
_READ = f"as {', '.join(SUFFIXES)}"

Classes = dict[str, list[Member]]


def name_of(path: Path) -> str:
    """What the data set is called: the name of the directory or archive."""
    return archive.stem(path.resolve())


def load(
    path: Path,
    image_size: int | None = None,
    channels: int | None = None,
    streaming: Streaming = RESIDENT,
) -> Raw:
    """The splits of a directory, .zip or .tar(.gz, .xz), decoded once and then cached, or
    streamed. channels: of what is streamed, as of `pictures.decode`.

    Classes and pictures are sorted by name. Raises ValueError where there are no
    pictures, a class folder is empty, splits differ in their classes, or a picture
    cannot be read or is of another size (see `pictures.decode`).
    """
    if not path.is_dir() and not archive.is_archive(path):
        archive.listing(path, is_picture)  # it says what is wrong
    if streaming.chosen(path.name, lambda: needed(path, is_picture, image_size)):

        def build() -> tuple[Labelled, Raw]:
            return _assigned(on_disk(path, is_picture, "folder"), path)

        raw = streamed(path, "folder", image_size, channels, streaming.workers, build)
    else:
        raw = cached(path, "folder", image_size, lambda: _build(path, image_size))
    about = path / PROVENANCE
    return as_made(raw, about.read_text(encoding="utf-8"), str(path)) if about.is_file() else raw


def _build(path: Path, image_size: int | None) -> Raw:
    labelled, about = _assigned(archive.listing(path, is_picture), path)
    images = decode([each for members, _ in labelled.values() for each in members], image_size)
    parts, start = {}, 0
    for split, (members, labels) in labelled.items():
        stop = start + len(members)
        parts[split] = Part(images[start:stop], labels)
        start = stop
    return replace(about, parts=parts)


def _assigned(found: Listing, path: Path) -> tuple[Labelled, Raw]:
    """The files of each split and their classes; and, without parts, what else there is to say."""
    splits, ignored = _layout(found, path)
    classes = _classes(splits, path)
    labelled = {}
    for split, by_class in splits.items():
        counts = [len(by_class[name]) for name in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
        labelled[split] = [each for name in classes for each in by_class[name]], labels
    notes = f"{ignored} pictures outside of the splits are left out" if ignored else ""
    return labelled, Raw({}, classes, path.name, notes=notes)


def _layout(found: Listing, path: Path) -> tuple[dict[str, Classes], int]:
    """Split → class → pictures, and how many pictures lie elsewhere."""
    splits: dict[str, Classes] = {}
    loose: Classes = defaultdict(list)
    roots: dict[str, set[str]] = defaultdict(set)
    for member in found.files:
        *root, last = member.name.split("/")[:-1] or [""]
        split = root[-1] if root and root[-1] in SPLITS else None
        if split:
            splits.setdefault(SPLITS[split], defaultdict(list))[last].append(member)
            roots[SPLITS[split]].add("/".join(root))
        else:
            loose[last].append(member)
            roots["all"].add("/".join(root))
    ignored = sum(map(len, loose.values())) if splits else 0
    if not splits:
        splits = {"all": loose}
    if not found.files or "" in splits.get("all", {}):
        raise ValueError(f"{path} has no pictures in class folders: {_LAYOUT}, {_READ}")
    for name in splits:
        if len(roots[name]) > 1:
            first, second, *_ = sorted(roots[name])
            raise ValueError(f"{path} has class folders in '{first}' and '{second}': {_LAYOUT}")
    _refuse_empty(found, splits, {root for name in splits for root in roots[name]}, path)
    order = [name for name in ("all", "train", "val", "test") if name in splits]
    return {name: splits[name] for name in order}, ignored


def _refuse_empty(found: Listing, splits: dict[str, Classes], roots: set[str], path: Path) -> None:
    for folder in found.folders:
        root, _, name = folder.rpartition("/")
        split = "all" if "all" in splits else SPLITS.get(root.rpartition("/")[2], "")
        if root in roots and not splits[split].get(name):
            raise ValueError(
                f"the class folder {folder} of {path} has no pictures: fill it or take it away "
                f"({_READ})"
            )


def _classes(splits: dict[str, Classes], path: Path) -> tuple[str, ...]:
    (first, reference), *others = splits.items()
    for split, by_class in others:
        if differing := sorted(set(reference) ^ set(by_class)):
            raise ValueError(
                f"the splits {first} and {split} of {path} differ in their classes "
                f"({', '.join(differing[:5])}): every class must be in every split"
            )
    if len(reference) < 2:
        raise ValueError(f"{path} has one class only ({next(iter(reference))}): {_LAYOUT}")
    return tuple(sorted(reference))
