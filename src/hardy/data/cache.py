"""Decoded pictures on disk, so that an archive is decoded once.

An entry is a pair of files named by a key: the pictures (.npy) and their description
(.json) with a hash of the contents. What does not fit is built anew; a cache that cannot
be written is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardy.data.archive import entries
from hardy.data.raw import Part, Raw, resident
from hardy.files import write_json, written_whole

_FORMAT = 2  # raise it when decoding changes: older entries are then not found


def cached(path: Path, kind: str, image_size: int | None, build: Callable[[], Raw]) -> Raw:
    """What `build` gives for the archive or directory `path`, from the cache if it is there.

    The cache lies in $HARDY_CACHE, else in ~/.cache/hardy; it may be deleted at any time.
    """
    stem = home() / f"{key_of(path, kind, image_size)}"
    found = _read(stem)
    if found is not None:
        return found
    raw = build()
    with contextlib.suppress(OSError):
        _write(stem, raw)
    return raw


def home() -> Path:
    """The folder of the cache."""
    return Path(os.environ.get("HARDY_CACHE") or "~/.cache/hardy").expanduser()


def key_of(path: Path, kind: str, image_size: int | None) -> str:
    """A hash that changes with the files' names, sizes and times and with the settings."""
    path = path.resolve()
    digest = hashlib.sha256(json.dumps([_FORMAT, kind, str(path), image_size]).encode())
    if path.is_dir():
        # One after another: of a million files at once the names alone would fill the memory.
        for entry in entries(path, lambda _: True):
            digest.update(_state(entry.name, entry.read and entry.read()))
    else:
        digest.update(_state(path.name, path))
    return digest.hexdigest()[:32]


def _state(name: str, file: Path | bytes | None) -> bytes:
    """Name, size and time of a file, the name alone of a folder."""
    stat = file.stat() if isinstance(file, Path) else None
    return json.dumps([name, stat.st_size, stat.st_mtime_ns] if stat else [name]).encode()


def _write(stem: Path, raw: Raw) -> None:
    with (
        written_whole(stem.with_suffix(".npy")) as part,
        part.open("wb") as file,
    ):
        np.save(file, np.concatenate([resident(each) for each in raw.parts.values()]))
    labels = {name: part.labels.tolist() for name, part in raw.parts.items()}
    about = {
        "labels": labels,
        "classes": raw.classes,
        "source": raw.source,
        "normalization": raw.normalization,
        "notes": raw.notes,
        "content_hash": raw.content_hash,
    }
    write_json(stem.with_suffix(".json"), about)


def _read(stem: Path) -> Raw | None:
    try:
        about: dict[str, Any] = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        images = np.load(stem.with_suffix(".npy"), allow_pickle=False)
        raw = _described(images, about)
        return raw if raw.content_hash == about["content_hash"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _described(images: np.ndarray, about: dict[str, Any]) -> Raw:
    parts, start = {}, 0
    for name, labels in about["labels"].items():
        stop = start + len(labels)
        parts[name] = Part(images[start:stop], np.array(labels, np.int64))
        start = stop
    return Raw(
        parts, tuple(about["classes"]), about["source"], about["normalization"], about["notes"]
    )
