"""Parquet files on disk: which there are, of which split, and whether they can be read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hardy.data import archive
from hardy.data.arrays import in_order

if TYPE_CHECKING:
    import pyarrow as pa

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_LAYOUT = "expected <split>-<number>.parquet or <split>/<file>.parquet, each split in one folder"


def must_be_readable(path: Path) -> None:
    """Raises ValueError where pyarrow is not installed or path is no .parquet and no folder."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ValueError("parquet:PATH needs pyarrow: pip install 'hardy[parquet]'") from error
    if not path.is_dir() and not (path.is_file() and _is_table(path.name)):
        raise ValueError(f"{path} is no .parquet file and no folder of such files: give one")


def _is_table(name: str) -> bool:
    return name.lower().endswith(".parquet")


def split_files(path: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Split → its files in order, and what is to be said of the others. Raises ValueError where
    there are none, or those of a split lie in several folders."""
    if path.is_file():
        return {split_of(path.name) or "all": [path]}, []
    found: dict[str, list[Path]] = defaultdict(list)
    folders: dict[str, set[str]] = defaultdict(set)
    for member in archive.listing(path, _is_table).files:
        assert isinstance(member.source, Path), "the files of a directory lie on disk"
        split = split_of(member.name) or "all"
        found[split].append(member.source)
        folders[split].add(member.name.rpartition("/")[0])
    if not found:
        raise ValueError(f"{path} has no .parquet files: {_LAYOUT}")
    notes = []
    if len(found) > 1 and (others := found.pop("all", [])):
        notes.append(f"{len(others)} files outside of the splits are left out")
    for split in found:
        if len(folders[split]) > 1:
            one, other, *_ = sorted(folders[split])
            raise ValueError(f"{path} has files of {split} in '{one}' and '{other}': {_LAYOUT}")
    return {split: found[split] for split in in_order(list(found))}, notes


def split_of(name: str) -> str | None:
    """The split that a file's name says, or else the nearest folder that says one."""
    for part in reversed(name.removesuffix(".parquet").split("/")):
        said = {_SPLITS[word] for word in re.split(r"[\W_]+", part.lower()) if word in _SPLITS}
        if len(said) > 1:
            raise ValueError(f"{name} says {' and '.join(sorted(said))}: {_LAYOUT}")
        if said:
            return said.pop()
    return None


def schema_of(file: Path) -> pa.Schema:
    """The columns of a file and what else its head says. Raises ValueError where it is damaged."""
    from pyarrow.parquet import read_schema

    with reading(file):
        return read_schema(file)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raises ValueError where what is done inside finds the file damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{file} cannot be read as parquet ({reason}): get it again or save it anew"
        ) from error
