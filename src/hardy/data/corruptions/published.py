"""The published corruptions: CIFAR-10-C and CIFAR-100-C (.npy), Tiny-ImageNet-C (folders)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hardy.data import archive
from hardy.data.archive import Member
from hardy.data.corruptions.cifar_c import from_arrays
from hardy.data.corruptions.parameters import FAMILIES, SEVERITIES
from hardy.data.corruptions.tiny_imagenet_c import from_pictures
from hardy.data.pictures import is_picture
from hardy.data.splits import DataSet, Split

_FOLDERS = {
    "cifar10": "CIFAR-10-C",
    "cifar100": "CIFAR-100-C",
    "tiny-imagenet": "Tiny-ImageNet-C",
}


def published(
    path: Path,
    name: str,
    severity: int,
    data: DataSet,
    *,
    like: Split | None = None,
    wnids: Sequence[str] | None = None,
) -> Split:
    """One corruption and severity of published files, for the pictures of `like` (data.test).

    path: the folder or the .tar of CIFAR-10-C, CIFAR-100-C or Tiny-ImageNet-C, or the
    folder that holds it. like: a part of data.test, found again by its index.

    CIFAR's files are in the order of the test split, and their labels must be its labels.
    Tiny-ImageNet-C's pictures are matched by the order of their file names, its folders by
    the labels these then have. wnids: the names of the class folders in the order of the
    labels (`wnids_of`), for files with pictures of their own; `like` then says how many, a
    stratified sample is taken, and index counts the files.

    Raises ValueError for unknown names, for files that are missing, damaged or of another
    type or shape, and for labels that do not match.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown corruption {name!r}: expected one of {', '.join(FAMILIES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    like = data.test if like is None else like
    path = _home(path, name, severity, data)
    arrays, pictures = _members(path, name, severity)
    if f"{name}.npy" in arrays:
        found = from_arrays(arrays, name, severity, data, like, path)
    elif pictures:
        found = from_pictures(pictures, data, like, wnids, path)
    else:
        raise ValueError(
            f"{path} has neither {name}.npy nor pictures in {name}/{severity}/<class>: "
            "give the folder or the .tar of CIFAR-10-C, CIFAR-100-C or Tiny-ImageNet-C"
        )
    return replace(found, name=f"{like.name} ({name} {severity}, published)")


def _home(path: Path, name: str, severity: int, data: DataSet) -> Path:
    folder = _FOLDERS.get(data.name, "")
    if not path.is_dir() or not folder:
        return path
    if (path / f"{name}.npy").is_file() or (path / name / str(severity)).is_dir():
        return path
    if (path / folder).is_dir():
        return path / folder
    return path / f"{folder}.tar" if (path / f"{folder}.tar").is_file() else path


def _members(path: Path, name: str, severity: int) -> tuple[dict[str, Member], list[Member]]:
    """The arrays by their file names, and the pictures, named from their class folder on."""
    arrays = (f"{name}.npy", "labels.npy")
    if path.is_dir():
        found = {each: Member(each, path / each) for each in arrays if (path / each).is_file()}
        inside = path / name / str(severity)
        return found, list(archive.listing(inside, is_picture).files) if inside.is_dir() else []

    part = f"/{name}/{severity}/"

    def wanted(each: str) -> bool:
        picture = is_picture(each) and part in f"/{each}"
        return picture or each.rpartition("/")[2] in arrays

    files = archive.listing(path, wanted).files
    found = {last: each for each in files if (last := each.name.rpartition("/")[2]) in arrays}
    pictures = [
        Member(f"/{each.name}".partition(part)[2], each.source)
        for each in files
        if is_picture(each.name)
    ]
    return found, pictures
