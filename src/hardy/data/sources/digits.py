"""Scikit-learn's 1,797 handwritten digits, 8×8: embedded data that needs no download."""

from __future__ import annotations

import numpy as np

from hardy.data.raw import Part, Raw


def load() -> Raw:
    """One split of grey pictures; the file's values 0..16 become 0..255."""
    from sklearn.datasets import load_digits  # half a second that other data need not wait for

    bunch = load_digits(return_X_y=True)
    pictures, labels = np.asarray(bunch[0]), np.asarray(bunch[1])
    images = np.rint(pictures * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    part = Part(images, labels.astype(np.int64))
    return Raw({"all": part}, tuple("0123456789"), "sklearn.datasets.load_digits")
