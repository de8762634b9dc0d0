"""Reads the pickles of CIFAR without running anything that a file names.

Lists, dicts, numbers and strings are built by the pickle machine itself. The few global
names that the published files hold are answered by stand-ins below, so that not even
numpy's own code runs on a file's behalf; every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

_DTYPES = {"u1": "u1", "|u1": "u1", "i4": "<i4", "<i4": "<i4", "i8": "<i8", "<i8": "<i8"}


class _Dtype:
    """Stands in for numpy.dtype(code, align, copy)."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if code not in _DTYPES:
            raise pickle.UnpicklingError(f"an array of the type {code!r}")
        self.code = _DTYPES[code]

    def __setstate__(self, state: Any) -> None:
        """Byte order and fields: the types above have one order and none."""


class _Array:
    """Stands in for numpy.ndarray; `value` is set by the state that follows it."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        match state:
            case (_, tuple(shape), _Dtype(code=code), fortran, bytes(data)):
                order = "F" if fortran else "C"
                self.value = np.frombuffer(data, code).reshape(shape, order=order)
            case _:
                raise pickle.UnpicklingError("an array that is not plain numbers")


def _reconstruct(*_: Any) -> _Array:
    """Stands in for numpy's function of this name."""
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands in for _codecs.encode, by which Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"a conversion to {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}")
        return _ADMITTED[module_name, global_name]


def read_pickle(data: bytes, where: str) -> dict[str, Any]:
    """The dict of a CIFAR pickle: keys as str, arrays as numpy arrays, other strings as bytes.

    Raises ValueError where the file is damaged, is no dict, or asks for anything that
    these files never need.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{where} is no CIFAR pickle: it asks for {error}, which is refused unread"
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way, and none of them is ours
        raise ValueError(f"{where} is a damaged pickle ({error}): get it again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} holds a {type(found).__name__}, expected a dict: get it again")
    return {text(key): getattr(value, "value", value) for key, value in found.items()}


def text(value: Any) -> str:
    """A string of a pickle, whichever Python wrote it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
