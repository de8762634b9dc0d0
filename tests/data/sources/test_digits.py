"""The digits, as scikit-learn gives them, without its half a second of imports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hardy.data.sources import digits


def test_the_pictures_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, labels = load_digits(return_X_y=True)
    own = digits.load().parts["all"]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # the file is not found
    for part in (own, digits.load().parts["all"]):
        images = np.asarray(part.images)
        assert images.dtype == np.uint8 and images.shape == (1797, 1, 8, 8)
        assert np.array_equal(np.rint(images.reshape(-1, 64) * (16 / 255)), wanted)
        assert images.max() == 255 and np.array_equal(np.asarray(part.labels), labels)


def test_scikit_learn_is_not_imported_for_them() -> None:
    code = "import sys; from hardy.data.sources.digits import load; load()"
    code += "; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
