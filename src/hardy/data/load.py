"""Data by name, cut into train, val and test in this one place.

>>> data = load_data("cifar10", "data")
>>> data.train.pixels(slice(0, 4)).shape
torch.Size([4, 3, 32, 32])
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from hardy.data.from_python.handed import handed_in, raw_of
from hardy.data.raw import Part, Raw
from hardy.data.reshape import check_shape, reshaped_raw
from hardy.data.sources import cifar, digits, folder, function, mnist, npz, parquet, tiny_imagenet
from hardy.data.splits import DataSet, Split, limited, parted
from hardy.data.streaming.delivered import delivered
from hardy.data.streaming.room import RESIDENT, Streaming
from hardy.data.streaming.stream import Streamed

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
_KINDS = ("folder", "npz", "parquet")


@dataclass(frozen=True)
class Form:
    """How the pictures of a set are wanted; None: as they are, or found by itself.

    columns_may_lack: a set that lacks a column of that name is searched for one of its own."""

    image_size: int | None = None
    channels: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    streaming: Streaming = RESIDENT
    columns_may_lack: bool = False


def load_data(
    spec: str | Callable[..., object],
    root: Path | str | None = None,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    limit_train: int | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    streaming: Streaming = RESIDENT,
) -> DataSet:
    """The data set of a name (`digits`, `mnist`, …), of `folder:PATH`, `npz:PATH` or
    `parquet:PATH`, or of a function (see `function.load`), itself or by its import path.

    root is the folder that holds the published files, or such a file or extracted folder
    itself ($HARDY_DATA, else ./data); the PATH of a folder, npz or parquet is read from it if
    it is relative and root is given. val (a fraction of train) and the cap on train are
    stratified and seeded. image_size resizes all pictures, channels makes them grey (1) or
    repeats grey (3), see `reshaped`. image_column, label_column: of parquet files, where they
    cannot be found by themselves. streaming: whether the pictures of folders, parquet
    files and Tiny-ImageNet are read from disk as they are needed, and those of other sets stay
    in memory and go to the device in batches.

    Raises ValueError for an unknown name, for files that are missing, damaged or of
    another format, for an error in the function, and for fractions or caps out of range.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"--val-fraction must lie between 0 and 1, not {val_fraction:g}")
    check_shape(image_size, channels)
    form = Form(image_size, channels, image_column, label_column, streaming)
    if not isinstance(spec, str) or _is_function(spec):
        made = function.load(spec, home_of(root), seed, image_size, val_fraction)
        if isinstance(made, DataSet):
            return delivered(handed_in(made, limit_train, seed, image_size, channels), streaming)
        name, raw = function.name_of(spec), reshaped_raw(made, image_size, channels)
    else:
        name, raw = read_raw(spec, root, form)
    return _assembled(name, raw, form, val_fraction, seed, limit_train)


def read_raw(spec: str, root: Path | str | None, form: Form) -> tuple[str, Raw]:
    """The name of a data set and all that its files hold, uncut. Raises as `load_data`."""
    kind, _, given = spec.partition(":")
    path = Path(root or ".").expanduser() / Path(given).expanduser()
    size, channels, streaming = form.image_size, form.channels, form.streaming
    if _is_function(spec):
        made = function.load(spec, home_of(root), 0, size, 0.1)
        name, raw = spec, raw_of(made) if isinstance(made, DataSet) else made
    elif kind == "folder" and given:
        name, raw = folder.name_of(path), folder.load(path, size, channels, streaming)
    elif kind == "npz" and given:
        name, raw = path.stem, npz.load(path, size)
    elif kind == "parquet" and given:
        image, label = form.image_column, form.label_column
        if form.columns_may_lack and (image or label):
            image, label = parquet.those_there(path, image, label)
        raw = parquet.load(path, size, image, label, channels, streaming)
        name = path.resolve().name.removesuffix(".parquet")
    elif spec == "tiny-imagenet":
        name, raw = spec, tiny_imagenet.load(home_of(root), size, channels, streaming)
    elif spec in _FIXED_SIZE:
        name, raw = spec, _FIXED_SIZE[spec](home_of(root))
    else:
        raise ValueError(_unknown(spec))
    return name, reshaped_raw(raw, size, channels)


def _is_function(spec: str) -> bool:
    return spec.partition(":")[0] not in _KINDS and function.is_import_path(spec)


def home_of(root: Path | str | None) -> Path:
    """Where the published files lie: root, else $HARDY_DATA, else ./data."""
    return Path(root or os.environ.get("HARDY_DATA") or "data").expanduser()


def _unknown(spec: str) -> str:
    near = difflib.get_close_matches(spec.lower().replace("_", "-"), NAMES, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"unknown data {spec!r}: expected one of {', '.join(NAMES)}, folder:PATH, npz:PATH, "
        f"parquet:PATH, or a function pkg.module:load{hint}"
    )


def _assembled(
    name: str, raw: Raw, form: Form, val_fraction: float, seed: int, limit_train: int | None
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
    if raw.made:
        provenance["made"] = raw.made
    asked = {"image_size": form.image_size, "channels": form.channels, "limit_train": limit_train}
    provenance |= {key: value for key, value in asked.items() if value is not None}
    train = limited(train, limit_train, seed)
    data = DataSet(name, train, val, test, raw.classes, raw.normalization, provenance, raw.flips)
    return delivered(data, form.streaming)


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
    labels, images = torch.from_numpy(part.labels), part.images
    if not isinstance(images, Streamed):
        images = torch.from_numpy(images)
    return Split(images, labels, torch.arange(len(labels)), name)
