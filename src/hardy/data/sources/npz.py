"""Arrays in an .npz file, as the generated sets of Rebuffi et al. (2021) are published.

`image` uint8 (N, H, W, C), or float16 or float32 from 0 to 1, and `label` integer (N,), or the
same with a split before the name (`train_images`, `train_labels`, `test_images`, …).
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hardy.data.arrays import LAYOUT, SPLITS, assembled, in_order, labels_of, pictures_of
from hardy.data.made import SOURCES, as_made
from hardy.data.raw import Part, Raw

_IMAGES = ("image", "images", "x")
_LABELS = ("label", "labels", "y")
_SPLITS = {"": "all", **{f"{name}_": split for name, split in SPLITS.items()}}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    MemoryError,  # a damaged head may promise any size
    OSError,
    RuntimeError,  # an encrypted member, or a zip method that Python does not know
    ValueError,
)


def load(path: Path, image_size: int | None = None) -> Raw:
    """The pictures of the file, in its splits if it has any, else in one part 'all'.

    Pictures may also be (N, H, W), or (N, C, H, W) where the last axis cannot be the
    channels. Class names come from an array `classes` of strings; without it they are the
    numbers up to the largest label. Nothing is unpickled. image_size resizes as of folders. A
    set that hardy computed says in `provenance` how (see `made`).

    Raises ValueError for a file that is missing, damaged or no .npz, and for arrays that
    are absent, empty, doubled, or of another type or shape.
    """
    arrays, left_out = _read(path)
    parts = {
        split: Part(
            pictures_of(arrays[images], f"{images} of {path}", image_size, floats=True),
            labels_of(arrays[labels], f"{labels} of {path}"),
        )
        for split, (images, labels) in _named(list(arrays), path).items()
    }
    notes = f"the arrays {', '.join(left_out)} are left out" if left_out else ""
    raw = assembled(parts, arrays.get("classes"), str(path), path.name, notes)
    return raw if "provenance" not in arrays else as_made(raw, str(arrays["provenance"]), str(path))


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that have a meaning here, and the names of the others, which stay unread."""
    if not path.is_file():
        raise ValueError(f"{path} is no file: give an .npz")
    meant = {prefix + name for prefix in _SPLITS for name in (*_IMAGES, *_LABELS)}
    meant |= {"classes", "provenance"}
    arrays, where = {}, str(path)
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            for name in file.files:
                if name in meant:
                    where = f"{name} of {path}"
                    arrays[name] = file[name]
            left_out = [name for name in file.files if name not in (*meant, *SOURCES)]
    except _DAMAGE as error:
        if "allow_pickle" in str(error):  # numpy has no type of its own for this refusal
            raise ValueError(
                f"{where} holds Python objects, which are never read: save it as plain numbers "
                "(or, for classes, as strings)"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{where} cannot be read as an .npz ({reason}): get it again or save it anew"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} of {path} is no numpy array: save it with numpy.savez")
    return arrays, left_out


def _named(names: list[str], path: Path) -> dict[str, tuple[str, str]]:
    """Split → the names of its pictures and of its labels."""
    found: dict[str, tuple[str, str]] = {}
    for prefix, split in _SPLITS.items():
        images = [prefix + each for each in _IMAGES if prefix + each in names]
        labels = [prefix + each for each in _LABELS if prefix + each in names]
        if not images and not labels:
            continue
        for here, other, wanted in ((images, labels, _IMAGES), (labels, images, _LABELS)):
            if not here:
                lacking = " or ".join(prefix + each for each in wanted)
                raise ValueError(f"{path} has {other[0]} but no {lacking}: add it")
            if len(here) > 1:
                raise ValueError(f"{path} has both {here[0]} and {here[1]}: keep one of them")
        if split in found:
            raise ValueError(f"{path} has both val_ and validation_ arrays: keep one of them")
        found[split] = images[0], labels[0]
    if not found:
        raise ValueError(f"{path} has no pictures: {LAYOUT}")
    if "all" in found and len(found) > 1:
        raise ValueError(
            f"{path} has {found['all'][0]} beside arrays of splits: take it out or name its split"
        )
    return {split: found[split] for split in in_order(list(found))}
