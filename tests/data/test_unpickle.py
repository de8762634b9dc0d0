from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hardy.data.unpickle import read_pickle


class Attack:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_a_command_is_refused_and_not_run(tmp_path: Path):
    proof = tmp_path / "executed"
    data = pickle.dumps({b"data": Attack(os.system, f"touch {proof}")}, protocol=2)
    with pytest.raises(ValueError, match=r"batch is no CIFAR pickle: it asks for \w+\.system"):
        read_pickle(data, "batch")
    assert not proof.exists()


@pytest.mark.parametrize("call", [(eval, "1"), (getattr, 1, "real"), (np.load, "x"), (bytes, 9)])
def test_anything_but_the_needed_names_is_refused(call):
    with pytest.raises(ValueError, match="which is refused unread"):
        read_pickle(pickle.dumps({b"x": Attack(*call)}, protocol=2), "batch")


@pytest.mark.parametrize("array", [np.array([{}], object), np.zeros(2, "f8"), np.array(["a"])])
def test_arrays_of_other_types_are_refused(array: np.ndarray):
    with pytest.raises(ValueError, match="an array of the type"):
        read_pickle(pickle.dumps({b"x": array}, protocol=2), "batch")


def test_codecs_other_than_latin1_are_refused():
    data = b"}X\x01\x00\x00\x00ac_codecs\nencode\n(X\x01\x00\x00\x00bX\x03\x00\x00\x00hextRs."
    with pytest.raises(ValueError, match="a conversion to 'hex'"):
        read_pickle(data, "batch")


def test_the_stand_ins_give_what_numpy_would():
    for array in (np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(4)[::-1].reshape(2, 2)):
        for each in (array, np.asfortranarray(array)):
            found = read_pickle(pickle.dumps({"x": each}, protocol=2), "batch")["x"]
            assert found.dtype == array.dtype
            assert np.array_equal(found, array)


def test_a_promised_shape_that_the_bytes_do_not_fill_is_refused():
    data = pickle.dumps({"x": np.zeros((2, 3), np.uint8)}, protocol=2)
    with pytest.raises(ValueError, match="damaged pickle"):
        read_pickle(data.replace(b"K\x02K\x03", b"K\x02K\x04"), "batch")
