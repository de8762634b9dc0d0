"""Scikit-learn's 1,797 handwritten digits, 8×8: embedded data that needs no download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from hardy.data.raw import Part, Raw


def load() -> Raw:
    """One split of grey pictures; the file's values 0..16 become 0..255."""
    pictures, labels = _read()
    images = np.rint(pictures * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    part = Part(images, labels.astype(np.int64))
    return Raw({"all": part}, tuple("0123456789"), "sklearn.datasets.load_digits")


def _read() -> tuple[np.ndarray, np.ndarray]:
    """What load_digits gives, from its own file: importing scikit-learn takes as long as importing
    torch, and nothing else here needs it."""
    found = importlib.util.find_spec("sklearn")
    path = Path(found.origin if found and found.origin else "").parent / "datasets/data"
    if (file := path / "digits.csv.gz").is_file():
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # where a later version keeps it elsewhere

    bunch = load_digits(return_X_y=True)
    return np.asarray(bunch[0]), np.asarray(bunch[1])
