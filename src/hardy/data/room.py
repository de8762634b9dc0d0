"""Whether the pictures of a set are kept in memory or read from disk as they are needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hardy.console import say
from hardy.data import archive
from hardy.data.archive import Member
from hardy.data.pictures import is_picture, probed

# To decode a set, and then to cut it into splits, takes its size in memory twice.
_OF_MEMORY = 1 / 3
_OF_DEVICE = 1 / 2
# Decoded bytes for each of an archive: more than photographs come to as JPEG.
_SWELLS = 25


@dataclass(frozen=True)
class Streaming:
    """How pictures are kept. when: 'on' reads them from disk as they are needed, 'off' keeps them
    in memory, 'auto' decides by what is free: more than a third of the memory of this machine, or
    half of a GPU's, is too much. workers: threads that decode ahead. device: where the pictures
    would be kept. copies: processes that would each keep them."""

    when: Literal["auto", "on", "off"] = "off"
    workers: int = 0
    device: torch.device | str = "cpu"
    copies: int = 1

    def chosen(self, name: str, size: Callable[[], int]) -> bool:
        """Whether to stream the pictures of a set; says so where it decides that by itself.
        size: the bytes that they take, decoded; asked where it matters."""
        if self.when != "auto":
            return self.when == "on"
        memory, on_device = free_memory(), free_on(torch.device(self.device))
        sentence = too_large(size, memory, on_device, self)
        if sentence is not None:
            say(f"{name}: {sentence}")
        return sentence is not None


RESIDENT = Streaming()


def too_large(
    size: Callable[[], int], memory: int | None, on_device: int | None, asked: Streaming
) -> str | None:
    """Why so many bytes of pictures are too many for what is free, None where they are not or
    where nothing is known of what is free."""
    places = []
    if memory is not None:
        places.append((memory, _OF_MEMORY, asked.copies, "a third of the {} of memory that are"))
    if on_device is not None:
        places.append((on_device, _OF_DEVICE, 1, f"half of the {{}} of {asked.device} that are"))
    if not places:
        return None
    count = size()
    for free, share, copies, what in places:
        if count * copies > share * free:
            times = f"{copies} times " if copies > 1 else ""
            return (
                f"its pictures would take {times}{_shown(count)}, more than "
                f"{what.format(_shown(free))} free: they are read from disk as they are needed "
                "(--stream off keeps them all the same)"
            )
    return None


def _shown(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def needed(path: Path, wanted: Callable[[str], bool], image_size: int | None) -> int:
    """About how many bytes the decoded pictures of a directory or archive take, in colour. What
    is compressed as a whole is not gone through for it: 25 times its own size."""
    if path.is_file() and not path.name.lower().endswith((".zip", ".tar")):
        return swollen([path])
    with archive.readable(path):
        count, size = 0, image_size
        for entry in archive.entries(path, wanted):
            if entry.read is None or not is_picture(entry.name):
                continue
            if size is None:
                size = probed([Member(entry.name, entry.read())], None)[0]
            count += 1
    return count * 3 * (size or 0) ** 2


def swollen(files: Iterable[Path]) -> int:
    """About how many bytes the pictures take that files hold compressed."""
    return _SWELLS * sum(file.stat().st_size for file in files)


def free_memory() -> int | None:
    """Bytes of this machine's memory that a new set could take, as Linux says it and within the
    limit of a container; elsewhere half of all there is, None where that is not known."""
    if sys.platform == "linux":
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = {key: value for key, _, value in (line.partition(":") for line in lines)}
        return min(1024 * int(found["MemAvailable"].split()[0]), _of_container())
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _of_container() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        most = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return sys.maxsize
    return sys.maxsize if most == "max" else int(most) - int(used)


def free_on(device: torch.device) -> int | None:
    """Free bytes of a GPU's own memory, None of other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
