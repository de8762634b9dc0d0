"""Pictures in parquet files, in the layout of Hugging Face `datasets`.

A column of encoded pictures (`image`: bytes and path, or the bytes alone) and one of labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardy.data.archive import Entry
from hardy.data.cache import cached
from hardy.data.pictures import decode, probed
from hardy.data.raw import Part, Raw
from hardy.data.streaming.looked import Labelled, streamed
from hardy.data.streaming.packed import packed
from hardy.data.streaming.room import RESIDENT, Size, Streaming, in_colour
from hardy.data.tables import contents
from hardy.data.tables.files import must_be_readable


def load(
    path: Path,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    channels: int | None = None,
    streaming: Streaming = RESIDENT,
) -> Raw:
    """The splits of a .parquet file or of a folder of them, decoded once and then cached, or
    streamed, and then packed once. channels: of what is streamed, as of `pictures.decode`.

    The split of a file is in its name or its folder's (`train-00000-of-00002.parquet`,
    `test/0.parquet`); where none has one, all are one part 'all'. Rows keep their order. The
    classes are those that the file declares, else the names in a column of text, sorted, else
    numbers. A split without labels (or with -1 alone, as the Hub's hidden ones) is left out.

    Raises ValueError where pyarrow is not installed, for damaged files, for columns that are
    absent, ambiguous or of another type, for rows without a picture or a label, and for
    pictures as `pictures.decode`.
    """
    must_be_readable(path)
    kind = f"parquet {image_column or ''}/{label_column or ''}"
    if streaming.chosen(path.name, lambda: _needed(path, image_size, image_column)):

        def build() -> tuple[Labelled, Raw]:
            return _packed(path, kind, contents.examined(path, image_column, label_column))

        return streamed(path, kind, image_size, channels, streaming.workers, build)
    return cached(
        path, kind, image_size, lambda: _build(path, image_size, image_column, label_column)
    )


def those_there(path: Path, *names: str | None) -> tuple[str | None, ...]:
    """The names that the first of the files has as columns; None in place of the others. Raises
    ValueError as `load`."""
    must_be_readable(path)
    return contents.those_there(path, *names)


def _needed(path: Path, image_size: int | None, image_column: str | None) -> Size:
    """What the decoded pictures take, in colour, by the number of rows and the first picture."""
    count, first = contents.counted(path, image_column)
    size = image_size if image_size or first is None else probed([first], None)[0]
    return in_colour(count, size or 0)


def _build(
    path: Path, image_size: int | None, image_column: str | None, label_column: str | None
) -> Raw:
    found = contents.examined(path, image_column, label_column)
    members = [each for split in found.files for each in contents.encoded(found, split)]
    images = decode(members, image_size)
    parts, start = {}, 0
    for split, labels in found.labels.items():
        parts[split] = Part(images[start : start + len(labels)], labels)
        start += len(labels)
    return Raw(parts, found.classes, path.name, notes=found.notes)


def _packed(path: Path, kind: str, found: contents.Tables) -> tuple[Labelled, Raw]:
    """The pictures of each split where they can be read one by one, and their classes."""

    def entries() -> Iterator[Entry]:
        for split in found.files:
            for member in contents.encoded(found, split):
                yield Entry(f"{split}/{member.name}", member.read)

    members, _ = packed(path, kind, entries())
    labelled, start = {}, 0
    for split, labels in found.labels.items():
        labelled[split] = members[start : start + len(labels)], labels
        start += len(labels)
    return labelled, Raw({}, found.classes, path.name, notes=found.notes)
