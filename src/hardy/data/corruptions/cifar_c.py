"""CIFAR-10-C and CIFAR-100-C as published: uint8 arrays, one block of pictures a severity."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from hardy.data.archive import Member
from hardy.data.splits import DataSet, Split


def from_arrays(
    arrays: dict[str, Member], name: str, severity: int, data: DataSet, like: Split, path: Path
) -> Split:
    """The pictures of `like` from <name>.npy uint8 (5·N, S, S, 3), checked by labels.npy (5·N,).

    Raises ValueError where an array is missing, damaged or of another type or shape, and
    where the labels are not those of data.test and `like`.
    """
    if "labels.npy" not in arrays:
        raise ValueError(f"{path} has {name}.npy but no labels.npy: put it beside")
    images = _array(arrays[f"{name}.npy"], path)
    labels = _array(arrays["labels.npy"], path)
    size = data.image_size
    count = len(images) // 5 if images.ndim else 0
    if images.dtype != np.uint8 or images.shape != (5 * count, size, size, 3) or not count:
        raise ValueError(
            f"{name}.npy of {path} is {images.dtype} {images.shape}, expected uint8 "
            f"(5·N, {size}, {size}, 3), one block of N pictures a severity"
        )
    if labels.shape != (5 * count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels.npy of {path} is {labels.dtype} {labels.shape}, expected "
            f"{5 * count} whole numbers, as many as {name}.npy has pictures"
        )
    start = (severity - 1) * count
    ours = torch.from_numpy(labels[start : start + count].astype(np.int64))
    for split in (data.test, like):
        index = split.index.cpu()
        if int(index.max()) >= count:
            raise ValueError(
                f"{path} has {count} pictures a severity, but {split.name} of {data.name} "
                f"goes on to number {int(index.max()) + 1}: give the files made from it"
            )
        if not torch.equal(ours[index], split.labels.cpu()):
            raise ValueError(
                f"{path} has labels that do not match those of {split.name} of {data.name}: "
                "give the files made from it, in its official order"
            )
    rows = like.index.cpu()
    block = np.ascontiguousarray(images[start + rows.numpy()].transpose(0, 3, 1, 2))
    return Split(torch.from_numpy(block), ours[rows], rows, like.name)


def _array(member: Member, path: Path) -> np.ndarray:
    try:
        if isinstance(member.source, Path):
            return np.load(member.source, mmap_mode="r", allow_pickle=False)
        found = np.load(io.BytesIO(member.read()), allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{member.name} of {path} cannot be read as an .npy ({reason}): get it again"
        ) from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{member.name} of {path} is no numpy array: get it again")
    return found
