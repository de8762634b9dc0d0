"""Which columns of a table hold the pictures and the labels, and what the classes are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# As the sets of the Hugging Face Hub call them; of CIFAR-100's two, the finer.
_IMAGES = ("image", "img", "picture", "images")
_LABELS = ("label", "labels", "fine_label", "fine_labels", "class", "target", "y")

_CALLED = {"image": "pictures", "label": "labels"}


def image_column(schema: pa.Schema, asked: str | None, where: str) -> str:
    """The column of encoded pictures: binary, or a struct with `bytes`.

    Raises ValueError, naming those that might be, where none or several are.
    """
    return _chosen(schema, is_image, asked, _IMAGES, "image", "encoded pictures", where)


def label_column(schema: pa.Schema, asked: str | None, where: str) -> str:
    """The column of whole numbers or of names. Raises ValueError as `image_column`.

    Where several are, one that the file itself declares a class comes first.
    """
    declared = [name for name in schema.names if declared_names(schema, name) is not None]
    preferred = (*_LABELS, *declared) if len(declared) == 1 else _LABELS
    what = "whole numbers or names"
    return _chosen(schema, _is_label, asked, preferred, "label", what, where)


def declared_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The class names of a column as Hugging Face `datasets` writes them beside it, if it does."""
    try:
        about: Any = json.loads((schema.metadata or {})[b"huggingface"])
        feature = about["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def is_image(kind: pa.DataType) -> bool:
    """Whether values of that type may be encoded pictures."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(each.name == "bytes" and is_image(each.type) for each in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)


def is_name(kind: pa.DataType) -> bool:
    """Whether values of that type are texts."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_name(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind)


def _is_label(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or is_name(kind)


def _chosen(
    schema: pa.Schema,
    fits: Callable[[pa.DataType], bool],
    asked: str | None,
    preferred: Sequence[str],
    flag: str,
    what: str,
    where: str,
) -> str:
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if asked is not None and asked not in schema.names:
        raise ValueError(f"{where} has no column {asked!r}: give --{flag}-column one of {columns}")
    named = [asked] if asked is not None else [name for name in preferred if name in schema.names]
    if named:
        kind = schema.types[schema.names.index(named[0])]
        if not fits(kind):
            raise ValueError(
                f"the column {named[0]} of {where} has the type {kind}, not {what}: "
                f"give --{flag}-column another of {columns}"
            )
        return named[0]
    possible = [field.name for field in schema if fits(field.type)]
    if not possible:
        raise ValueError(
            f"{where} has no column of {_CALLED[flag]} (its columns are {columns}): "
            f"add one of {what}"
        )
    if len(possible) > 1:
        raise ValueError(
            f"{where} has several columns of {what} ({', '.join(possible)}): give --{flag}-column "
            f"one of {columns}"
        )
    return possible[0]
