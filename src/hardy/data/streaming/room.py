"""Whether the pictures of a set are kept in memory or read from disk as they are needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hardy.console import say
from hardy.data import archive
from hardy.data.archive import Member
from hardy.data.pictures import is_picture, probed

# To decode a set, and then to cut it into splits, takes 2.8 times its size in memory.
_OF_MEMORY = 1 / 4
_OF_DEVICE = 1 / 2
# Decoded bytes for each of a compressed tar: more than photographs come to as JPEG.
_SWELLS = 25

_FROM_DISK = "they are read from disk as they are needed (--stream off keeps them all the same)"
_IN_BATCHES = "they stay in memory and go there in batches (--stream off moves them all the same)"

# Of a container, version 2 and version 1: its limit, what it uses, and what of that is the cache
# of files and given back when it is needed.
_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Size:
    """About how many bytes pictures take, decoded. guessed: by the size of what holds them
    compressed, which may be far off."""

    count: int
    guessed: bool = False


@dataclass(frozen=True)
class Streaming:
    """How pictures are kept. when: 'on' reads them from disk as they are needed, 'off' keeps them
    in memory, 'auto' decides by what is free: more than a quarter of the memory of this machine,
    or half of a GPU's, is too much. Of sets that are no files 'on' and 'auto' only keep the
    pictures off the device. workers: threads that decode ahead. device: where the pictures would
    be kept. copies: processes that would each keep them."""

    when: Literal["auto", "on", "off"] = "off"
    workers: int = 0
    device: torch.device | str = "cpu"
    copies: int = 1

    def chosen(self, name: str, size: Callable[[], Size]) -> bool:
        """Whether to stream the pictures of a set; says so where it decides that by itself.
        size: what they take, decoded; asked where it matters."""
        return self._chosen(name, size, free_memory, _FROM_DISK)

    def in_batches(self, name: str, count: int) -> bool:
        """Whether pictures that lie in memory go to the device a batch at a time; says so where
        it decides that by itself. count: the bytes that they take."""
        return self._chosen(name, lambda: Size(count), lambda: None, _IN_BATCHES)

    def _chosen(
        self, name: str, size: Callable[[], Size], memory: Callable[[], int | None], then: str
    ) -> bool:
        if self.when != "auto":
            return self.when == "on"
        why = too_large(size, memory(), free_on(torch.device(self.device)), self)
        if why is not None:
            say(f"{name}: {why}: {then}")
        return why is not None


RESIDENT = Streaming()


def too_large(
    size: Callable[[], Size], memory: int | None, on_device: int | None, asked: Streaming
) -> str | None:
    """Why so many bytes of pictures are too many for what is free, None where they are not or
    where nothing is known of what is free."""
    places = []
    if memory is not None:
        places.append((memory, _OF_MEMORY, asked.copies, "a quarter of the {} of memory that are"))
    if on_device is not None:
        places.append((on_device, _OF_DEVICE, 1, f"half of the {{}} of {asked.device} that are"))
    if not places:
        return None
    found = size()
    for free, share, copies, what in places:
        if found.count * copies > share * free:
            times = f"{copies} times " if copies > 1 else ""
            guess = f" (a guess: {_SWELLS} times the file's own size)" if found.guessed else ""
            return (
                f"its pictures would take {times}{_shown(found.count)}{guess}, more than "
                f"{what.format(_shown(free))} free"
            )
    return None


def _shown(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def needed(path: Path, wanted: Callable[[str], bool], image_size: int | None) -> Size:
    """What the decoded pictures of a directory or archive take, in colour. A compressed tar is
    not gone through for it: a guess, 25 times its own size."""
    if path.is_file() and not path.name.lower().endswith((".zip", ".tar")):
        return Size(_SWELLS * path.stat().st_size, guessed=True)
    with archive.readable(path):
        count, size = 0, image_size
        for entry in archive.entries(path, wanted):
            if entry.read is None or not is_picture(entry.name):
                continue
            if size is None:
                size = probed([Member(entry.name, entry.read())], None)[0]
            count += 1
    return in_colour(count, size or 0)


def in_colour(count: int, size: int) -> Size:
    """What so many pictures of a size in pixels take, in colour."""
    return Size(count * 3 * size**2)


def free_memory() -> int | None:
    """Bytes of this machine's memory that a new set could take, as Linux says it and within the
    limit of a container; elsewhere half of all there is, None where that is not known."""
    if sys.platform == "linux":
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = {key: value for key, _, value in (line.partition(":") for line in lines)}
        return min(1024 * int(found["MemAvailable"].split()[0]), of_container())
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def of_container(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are left of the limit of a container, `sys.maxsize` where it has none. What it
    holds of files that were read counts as left."""
    for limit, usage, details, cached in _GROUPS:
        try:
            most = (folder / limit).read_text(encoding="ascii").strip()
            used = int((folder / usage).read_text(encoding="ascii"))
            stat = (folder / details).read_text(encoding="ascii")
        except OSError:
            continue
        if most == "max":
            return sys.maxsize
        found = dict(line.split() for line in stat.splitlines())
        return int(most) - used + int(found.get(cached, 0))
    return sys.maxsize


def free_on(device: torch.device) -> int | None:
    """Free bytes of a GPU's own memory, None of other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
