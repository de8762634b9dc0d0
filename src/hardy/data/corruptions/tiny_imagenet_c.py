"""Tiny-ImageNet-C as published: `<corruption>/<severity>/<class>/<picture>.JPEG`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hardy.data import archive
from hardy.data.archive import Member
from hardy.data.pictures import decode
from hardy.data.splits import DataSet, Split, stratified


def wnids_of(path: Path) -> tuple[str, ...]:
    """The class folders of Tiny-ImageNet in the order of its labels.

    path: its directory, its .zip, or the folder that holds either. Raises ValueError where
    there is no single wnids.txt.
    """
    places = [path, path / "tiny-imagenet-200", path / "tiny-imagenet-200.zip"]
    place = next((each for each in places if archive.is_archive(each)), None)
    place = next((each for each in places if (each / "wnids.txt").is_file()), place or path)
    found = archive.listing(place, lambda name: name.rpartition("/")[2] == "wnids.txt").files
    if len(found) != 1:
        raise ValueError(f"{path} has {len(found)} files wnids.txt: give Tiny-ImageNet's folder")
    return tuple(found[0].read().decode("utf-8", "replace").split())


def from_pictures(
    members: Sequence[Member],
    data: DataSet,
    like: Split,
    wnids: Sequence[str] | None,
    path: Path,
) -> Split:
    """The pictures of `like`, by the order of their file names; with wnids a sample as large.

    members: of one corruption and severity, named <class>/<picture>. Raises ValueError where
    classes, labels or counts do not match, or a picture cannot be read.
    """
    members = sorted(members, key=lambda each: (each.name.rpartition("/")[2], each.name))
    folders = [each.name.partition("/")[0] for each in members]
    if wnids is None:
        labels, rows = _matched(folders, data, path), like.index.cpu()
    else:
        if strange := sorted(set(folders) - set(wnids)):
            raise ValueError(f"{path} has the class folder {strange[0]} that wnids do not name")
        labels = torch.tensor([list(wnids).index(folder) for folder in folders])
        rows = stratified(labels, min(len(like), len(labels)), seed=0)
    decoded = decode([members[row] for row in rows.tolist()], data.image_size, channels=3)
    return Split(torch.from_numpy(decoded), labels[rows], rows, like.name)


def _matched(folders: list[str], data: DataSet, path: Path) -> Tensor:
    """The labels of all files where folders and the test split's labels match one to one."""
    test = data.test
    if len(folders) != len(test):
        raise ValueError(
            f"{path} has {len(folders)} pictures a severity, but {test.name} of {data.name} "
            f"{len(test)}: give the files made from it, or wnids"
        )
    labels = torch.empty(len(test), dtype=torch.int64)
    labels[test.index.cpu()] = test.labels.cpu()
    pairs = set(zip(folders, labels.tolist(), strict=True))
    if not len(pairs) == len(set(folders)) == len(set(labels.tolist())):
        raise ValueError(
            f"{path} has class folders that do not match the labels of {test.name} of "
            f"{data.name}: give the files made from it, or wnids"
        )
    return labels
