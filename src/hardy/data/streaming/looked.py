"""The first look through pictures that will be streamed, and what is remembered of it.

Every picture is decoded once: so one that is damaged is found at the start and not in the third
hour, and the set is known by the same hash as if it lay in memory. Of that an entry in the cache
is kept, and the next start looks at nothing but names, sizes and times of files.
"""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from hardy.console import progress
from hardy.data.archive import Member
from hardy.data.cache import home, key_of
from hardy.data.pictures import huge_refused, probed
from hardy.data.raw import Part, Raw, set_hash
from hardy.data.streaming.encoded import Encoded, Files
from hardy.data.streaming.stream import Streamed, hashes_of
from hardy.files import written_whole

# Of each part: its files, and the class of each, int64 (N,).
Labelled = Mapping[str, tuple[Sequence[Member], np.ndarray]]
_AT_ONCE = 1 << 22  # bytes of decoded pictures
_FORMAT = 2  # raise it when an entry changes: older ones are then not found

_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,  # of encrypted and of unknown zips (NotImplementedError is one)
    MemoryError,  # of a length that is damaged
    zlib.error,
    zipfile.BadZipFile,
)


def streamed(
    path: Path,
    kind: str,
    image_size: int | None,
    channels: int | None,
    workers: int,
    build: Callable[[], tuple[Labelled, Raw]],
) -> Raw:
    """A set whose pictures stay on disk, equal to the resident one in all but that.

    build: its files, and a Raw without parts that says all else; called where the cache knows
    nothing of them as they are now. channels: as of `pictures.decode`. Raises ValueError as
    `pictures.decode` does, and for less than no workers.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}: 0 decodes in between")
    path = path.resolve()  # it is remembered, and read from other working directories
    settings = f"{kind} streamed {_FORMAT} {channels} {_decoder()}"
    entry = home() / f"{key_of(path, settings, image_size)}.npz"
    raw = _read(entry, workers)
    if raw is None:
        labelled, about = build()
        raw = _looked_through(path, labelled, about, image_size, channels, workers)
        with contextlib.suppress(OSError):  # a cache that cannot be written is none
            _write(entry, raw)
    return raw


def _decoder() -> str:
    """The versions of what decodes: of another one each picture may differ in its last bits."""
    parts = ("jpg", "libjpeg_turbo", "webp")
    return f"{Image.__version__} {[features.version(part) for part in parts]}"


def _looked_through(
    path: Path,
    labelled: Labelled,
    about: Raw,
    image_size: int | None,
    channels: int | None,
    workers: int,
) -> Raw:
    members = [member for files, _ in labelled.values() for member in files]
    # Whether any has colour is asked with channels given too: whether they may be flipped hangs
    # on it.
    with progress(f"looking at the sizes of {path.name}, once", len(members)) as advance:
        size, colour = probed(members, image_size, advance)
    have = 3 if colour else 1
    shape = (have if channels is None else channels, size, size)
    source = Encoded(Files.of(members, path), shape, image_size)
    images = Streamed.whole(source, workers)
    parts = _cut(images, {name: labels for name, (_, labels) in labelled.items()})
    known = np.empty(len(images), np.int64)
    with huge_refused(), progress(f"looking through {path.name}, once", len(images)) as advance:

        def blocks(part: Part) -> Iterator[np.ndarray]:
            assert isinstance(part.images, Streamed), "cut above"
            order = torch.arange(len(part.labels)).split(max(1, _AT_ONCE // math.prod(shape)))
            for rows, batch in zip(order, part.images.batches(order), strict=True):
                pictures = batch.numpy()
                known[part.images.rows[rows].numpy()] = hashes_of(pictures)
                yield pictures
                advance(len(pictures))

        found = set_hash(parts, blocks)
    images = replace(images, source=replace(source, known=known))
    parts = _cut(images, {name: part.labels for name, part in parts.items()})
    changed = {} if shape[0] == have else {"normalization": "none", "flips": have != 1}
    return replace(about, parts=parts, known_hash=found, **changed)


def _write(entry: Path, raw: Raw) -> None:
    images = next(iter(raw.parts.values())).images
    assert isinstance(images, Streamed) and isinstance(images.source, Encoded), "looked through"
    source, files = images.source, images.source.files
    assert source.known is not None, "looked through"
    about = {
        "place": str(files.place),
        "shape": source.shape,
        "image_size": source.image_size,
        "parts": list(raw.parts),
        "classes": raw.classes,
        "source": raw.source,
        "normalization": raw.normalization,
        "notes": raw.notes,
        "flips": raw.flips,
        "content_hash": raw.content_hash,
    }
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "names": files.names,
        "ends": files.ends,
        "spots": files.spots,
        "known": source.known,
        **{f"labels {name}": part.labels for name, part in raw.parts.items()},
    }
    with written_whole(entry) as part, part.open("wb") as out:
        np.savez(out, **arrays)


def _read(entry: Path, workers: int) -> Raw | None:
    try:
        with np.load(entry, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        about: dict[str, Any] = json.loads(str(kept["about"]))
        files = Files(Path(about["place"]), kept["names"], kept["ends"], kept["spots"])
        labels = {name: kept[f"labels {name}"] for name in about["parts"]}
        channels, height, width = about["shape"]
        source = Encoded(files, (channels, height, width), about["image_size"], kept["known"])
        if not files.place.exists():  # what had to be packed is in the cache too
            return None
        return Raw(
            _cut(Streamed.whole(source, workers), labels),
            tuple(about["classes"]),
            about["source"],
            about["normalization"],
            about["notes"],
            about["flips"],
            about["content_hash"],
        )
    except _DAMAGE:
        return None


def _cut(images: Streamed, labels: Mapping[str, np.ndarray]) -> dict[str, Part]:
    """The pictures in parts, one after another."""
    parts, start = {}, 0
    for name, own in labels.items():
        stop = start + len(own)
        parts[name] = Part(images.take(slice(start, stop)), own)
        start = stop
    return parts
