"""Data by name, cut into train, val and test in this one place.

>>> data = load_data("cifar10", "data")
>>> data.train.pixels(slice(0, 4)).shape
torch.Size([4, 3, 32, 32])
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from hardy.data import cifar, digits, folder, mnist, npz, tiny_imagenet
from hardy.data.raw import Part, Raw
from hardy.data.splits import DataSet, Split, limited, parted

# The test part of a set without splits does not depend on the user's seed: it never changes.
_TEST_FRACTION = 0.25
_TEST_SEED = 20_210_527

_FIXED_SIZE: dict[str, Callable[[Path], Raw]] = {
    "digits": lambda _: digits.load(),
    "mnist": mnist.load,
    "cifar10": lambda root: cifar.load(root, cifar.CIFAR10),
    "cifar100": lambda root: cifar.load(root, cifar.CIFAR100),
}
NAMES = (*_FIXED_SIZE, "tiny-imagenet")


def load_data(
    spec: str,
    root: Path | str | None = None,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    limit_train: int | None = None,
    image_size: int | None = None,
) -> DataSet:
    """The data set of a name (`digits`, `mnist`, …), of `folder:PATH` or of `npz:PATH`.

    root is the folder that holds the published files, or such a file or extracted folder
    itself ($HARDY_DATA, else ./data); the PATH of a folder or npz is read from it if it is
    relative and root is given. val (a fraction of train) and the cap on train are stratified and
    seeded. image_size resizes the pictures of folders and of Tiny-ImageNet.

    Raises ValueError for an unknown name, for files that are missing, damaged or of
    another format, and for fractions or caps out of range.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"--val-fraction must lie between 0 and 1, not {val_fraction:g}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"--image-size must be at least 1, not {image_size}")
    name, raw = read_raw(spec, root, image_size)
    return _assembled(name, raw, val_fraction, seed, limit_train)


def read_raw(spec: str, root: Path | str | None, image_size: int | None) -> tuple[str, Raw]:
    """The name of a data set and all that its files hold, uncut. Raises as `load_data`."""
    kind, _, given = spec.partition(":")
    path = Path(root or ".").expanduser() / Path(given).expanduser()
    if kind == "folder" and given:
        return folder.name_of(path), folder.load(path, image_size)
    home = home_of(root)
    if spec == "tiny-imagenet":
        return spec, tiny_imagenet.load(home, image_size)
    arrays = kind == "npz" and given != ""
    if not arrays and spec not in _FIXED_SIZE:
        raise ValueError(_unknown(spec))
    if image_size is not None:
        raise ValueError(
            f"--image-size does not apply to {spec}, whose pictures have one size: leave it out"
        )
    return (path.stem, npz.load(path)) if arrays else (spec, _FIXED_SIZE[spec](home))


def home_of(root: Path | str | None) -> Path:
    """Where the published files lie: root, else $HARDY_DATA, else ./data."""
    return Path(root or os.environ.get("HARDY_DATA") or "data").expanduser()


def _unknown(spec: str) -> str:
    near = difflib.get_close_matches(spec.lower().replace("_", "-"), NAMES, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown data {spec!r}: expected one of {', '.join(NAMES)}, folder:PATH, npz:PATH{hint}"


def _assembled(
    name: str, raw: Raw, val_fraction: float, seed: int, limit_train: int | None
) -> DataSet:
    if len(raw.classes) < 2:
        raise ValueError(f"{name} has one class only ({', '.join(raw.classes)}): give at least two")
    train, val, test, notes = _cut(raw, val_fraction, seed)
    for split in (train, val, test):
        if not len(split):
            raise ValueError(
                f"the {split.name} split of {name} is empty: "
                "give more pictures or another --val-fraction"
            )
    provenance: dict[str, str | int | float] = {
        "source": raw.source,
        "content_hash": raw.content_hash,
        "val_fraction": val_fraction,
        "seed": seed,
        "notes": "; ".join(note for note in (raw.notes, notes) if note),
    }
    if limit_train is not None:
        provenance["limit_train"] = limit_train
    train = limited(train, limit_train, seed)
    return DataSet(name, train, val, test, raw.classes, raw.normalization, provenance)


def _cut(raw: Raw, val_fraction: float, seed: int) -> tuple[Split, Split, Split, str]:
    """Train, val, test, and what a reader of the results should know of how they came."""
    parts = {name: as_split(part, name) for name, part in raw.parts.items()}
    if len(parts) == 1:
        (whole,) = parts.values()
        count = round(_TEST_FRACTION * len(whole))
        test, rest = parted(whole, count, _TEST_SEED, ("test", "train"))
        val, train = _val_of(rest, val_fraction, seed)
        return train, val, test, "one split, cut into train, val and test by fixed seed"
    require_train(raw)
    if len(parts) == 3:
        return parts["train"], parts["val"], parts["test"], "val is the set's own"
    val, train = _val_of(parts["train"], val_fraction, seed)
    if "test" in parts:
        return train, val, parts["test"], ""
    own = parts["val"]
    return train, val, own.take(slice(None), "test"), "no labelled test: the set's val is the test"


def _val_of(split: Split, val_fraction: float, seed: int) -> tuple[Split, Split]:
    return parted(split, round(val_fraction * len(split)), seed, ("val", "train"))


def require_train(raw: Raw) -> None:
    """Raises ValueError where there are splits but none to train on."""
    if "train" not in raw.parts:
        raise ValueError(f"{raw.source} has {' and '.join(raw.parts)} but no train split: add one")


def as_split(part: Part, name: str) -> Split:
    """All of a part, on the CPU; its index is the position in the part."""
    labels = torch.from_numpy(part.labels)
    return Split(torch.from_numpy(part.images), labels, torch.arange(len(labels)), name)
