"""What parquet files hold: their labels at once, their encoded pictures in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardy.data.archive import Member
from hardy.data.arrays import class_names, labels_of, numbered
from hardy.data.raw import checked_labels
from hardy.data.tables import columns
from hardy.data.tables.files import reading, schema_of, split_files

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 64  # encoded pictures that are held beside those that are asked for


@dataclass(frozen=True)
class Tables:
    """The files of each split in order, their column of pictures, and labels int64 (N,)."""

    files: dict[str, list[Path]]
    image: str
    labels: dict[str, np.ndarray]
    classes: tuple[str, ...]
    notes: str


def examined(
    path: Path, image_column: str | None = None, label_column: str | None = None
) -> Tables:
    """What the files hold, all but the pictures. Raises ValueError as `parquet.load`."""
    files, notes = split_files(path)
    schemas = {file: schema_of(file) for split in files.values() for file in split}
    first, schema = next(iter(schemas.items()))
    image = columns.image_column(schema, image_column, first.name)
    label = columns.label_column(schema, label_column, first.name)
    declared = columns.declared_names(schema, label)
    given: dict[str, np.ndarray] = {}
    for split, tables in files.items():
        values: list[Any] = []
        for file in tables:
            columns.image_column(schemas[file], image, file.name)
            values += _labels(file, schemas[file], label, declared)
        if all(value is None or value == -1 for value in values):
            why = "has no labels" if values else "is empty"
            notes.append(f"the split {split} {why} and is left out")
        elif None in values:
            raise ValueError(
                f"row {values.index(None)} of {split} in {path} has no {label}: label it or take "
                "it out"
            )
        else:
            given[split] = np.asarray(values)
    if not given:
        raise ValueError(f"{path} has no {label} in any row: give --label-column another column")
    labels, names = numbered(given, str(path))
    labels = {
        split: labels_of(each, f"{label} of {path} ({split})") for split, each in labels.items()
    }
    classes = class_names(names or declared, labels.values(), str(path))
    labels = {
        split: checked_labels(each, len(classes), len(each), f"{path} ({split})")
        for split, each in labels.items()
    }
    return Tables(
        {split: files[split] for split in labels}, image, labels, classes, "; ".join(notes)
    )


def those_there(path: Path, *names: str | None) -> tuple[str | None, ...]:
    """The names that the first of the files has as columns; None in place of the others."""
    files, _ = split_files(path)
    there = schema_of(next(iter(files.values()))[0]).names
    return tuple(name if name in there else None for name in names)


def counted(path: Path, image_column: str | None) -> tuple[int, Member | None]:
    """How many rows the files have, and the first picture. Raises ValueError as `examined`."""
    from pyarrow.parquet import ParquetFile

    count, first = 0, None
    for file in (file for split in split_files(path)[0].values() for file in split):
        with reading(file), ParquetFile(file) as table:
            count += table.metadata.num_rows
        if first is None:
            column = columns.image_column(schema_of(file), image_column, file.name)
            first = next(_pictures(file, column, 1), None)
    return count, first


def encoded(tables: Tables, split: str) -> Iterator[Member]:
    """The pictures of a split as its files hold them, called by their row (from 0) and file.

    Raises ValueError for a row without one.
    """
    for file in tables.files[split]:
        yield from _pictures(file, tables.image, _AT_ONCE)


def _pictures(file: Path, column: str, at_once: int) -> Iterator[Member]:
    from pyarrow.parquet import ParquetFile

    row = 0
    with reading(file), ParquetFile(file) as table:
        for batch in table.iter_batches(at_once, columns=[column]):
            for value in batch.column(column).to_pylist():
                data = value["bytes"] if isinstance(value, dict) else value
                if not data:
                    raise ValueError(
                        f"row {row} of {file.name} has no picture in {column}: save it "
                        "with its bytes, not with a path alone, or take the row out"
                    )
                yield Member(f"row {row} of {file.name}", data)
                row += 1


def _labels(
    file: Path, schema: pa.Schema, label: str, declared: tuple[str, ...] | None
) -> list[Any]:
    """The labels of a file, None where it has none."""
    from pyarrow.parquet import ParquetFile

    if label in schema.names:
        columns.label_column(schema, label, file.name)
        if columns.declared_names(schema, label) != declared:
            raise ValueError(
                f"{file.name} names other classes in {label} than the file before it: save all "
                "files with the same"
            )
    with reading(file), ParquetFile(file) as table:
        if label not in schema.names:
            return [None] * table.metadata.num_rows
        return table.read(columns=[label]).column(label).to_pylist()
