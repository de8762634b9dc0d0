"""Pictures read from disk as they are needed, against the same pictures in memory.

OMP_NUM_THREADS=1 python benchmarks/streaming.py throughput
OMP_NUM_THREADS=1 python benchmarks/streaming.py workers
python benchmarks/streaming.py memory
OMP_NUM_THREADS=1 python benchmarks/streaming.py costs

throughput: pictures a second of adversarial training (PGD-10, thin_resnet18) on JPEG files, in
turn from memory and from disk; also by processor time of all threads, for machines that do other
work beside it. workers: pictures a second that threads decode, and that the
processes of torch's DataLoader do. memory: the highest resident memory of a process that loads a
set and goes through it once. costs: processor time of one picture and of comparing it with the
first look, and the memory that the names of files take. The files are made under --folder (a
temporary one).
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hardy.data import Augment, DataSet, Split, Streaming, batches, load_data
from hardy.data.archive import listing
from hardy.data.cache import key_of
from hardy.data.pictures import is_picture
from hardy.data.streaming.encoded import Encoded
from hardy.data.streaming.stream import Streamed, hashes_of

KINDS = 256  # different pictures; the others are links to them


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("throughput", "workers", "memory", "costs", "pass"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="of the pictures of throughput")
    parser.add_argument("--batch-size", type=int, default=64, help="of throughput")
    parser.add_argument("--steps", type=int, default=2, help="training steps in a round")
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--how", choices=("on", "off"), help="of a pass")
    asked = parser.parse_args()
    if asked.what == "pass":
        one_pass(asked)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        os.environ["HARDY_CACHE"] = f"{folder}/cache"
        modes = {"throughput": throughput, "workers": workers, "memory": memory, "costs": costs}
        modes[asked.what](asked, Path(folder))


def made(root: Path, count: int, width: int, height: int) -> Path:
    """A folder of two classes of JPEG files, as smooth as photographs are."""
    draws = np.random.default_rng(0)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number:06}.jpg"
        if number >= KINDS:
            path.hardlink_to(root / "ab"[number % 2] / f"{number % KINDS:06}.jpg")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        small = draws.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        fine = draws.integers(-8, 9, (height, width, 3))
        buffer = io.BytesIO()
        pixels = (np.asarray(image) + fine).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        path.write_bytes(buffer.getvalue())
    return root


def loaded(root: Path, how: str, workers: int, image_size: int | None = None) -> DataSet:
    streaming = Streaming("on" if how == "on" else "off", workers)
    return load_data(f"folder:{root}", image_size=image_size, streaming=streaming)


def throughput(asked: argparse.Namespace, folder: Path) -> None:
    from hardy.attacks.pgd import PGD
    from hardy.methods.pgd_at import PGDAT
    from hardy.methods.protocol import Nets
    from hardy.models.architecture import Architecture
    from hardy.threat import Linf
    from hardy.training.engine import Engine
    from hardy.training.loop import Settings, started

    size, batch = asked.size, asked.batch_size
    root = made(folder / "pictures", 2 * batch * (asked.steps + 1), size, size)

    def stepping(data: DataSet) -> Callable[[int], tuple[float, float]]:
        torch.manual_seed(0)
        net = Architecture("thin_resnet18", 2, 3, "none").build()
        settings = Settings(epochs=asked.rounds + 1, batch_size=batch, lr=0.01)
        attack = PGD(Linf(8 / 255), steps=10)
        engine = Engine(torch.device("cpu"))
        nets = Nets(net, net, net)
        loop = started(engine, nets, PGDAT(), attack, data.train, Augment(8), settings, "")

        def one_round(epoch: int) -> tuple[float, float]:
            began, used = time.perf_counter(), time.process_time()
            for step, one in enumerate(islice(loop.batches(epoch), asked.steps)):
                loop.step(one, step, 0.01)
            return time.perf_counter() - began, time.process_time() - used

        return one_round

    runs = {how: stepping(loaded(root, how, asked.workers)) for how in ("off", "on")}
    spent: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    for epoch in range(asked.rounds + 1):
        for how in ("off", "on") if epoch % 2 else ("on", "off"):
            spent[how].append(runs[how](epoch))
    pairs = list(zip(spent["off"], spent["on"], strict=True))[1:]
    print(f"| {size}×{size} JPEG files, PGD-10 | in memory | streamed | of in memory (range) |")
    print("|---|---:|---:|---:|")
    for row, what in enumerate(("pictures/s", "pictures/s of processor time")):
        ratios = [memory[row] / disk[row] for memory, disk in pairs]
        memory, disk = (
            asked.steps * batch / statistics.median(each[row] for each in spent[how][1:])
            for how in ("off", "on")
        )
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {what} | {memory:.1f} | {disk:.1f} | {spread} |")


class _Rows(Dataset[torch.Tensor]):
    """Whole batches of a streamed set, as a process of torch's DataLoader reads them."""

    def __init__(self, images: Streamed, order: list[torch.Tensor]) -> None:
        self.images, self.order = images, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.images[self.order[number]]


def workers(asked: argparse.Namespace, folder: Path) -> None:
    cases = (("32×32", 12000, 32, 32, None), ("400×300 to 224×224", 1500, 400, 300, 224))
    print("| JPEG files | workers | threads, pictures/s | processes, pictures/s | to start, s |")
    print("|---|---:|---:|---:|---:|")
    for name, count, width, height, image_size in cases:
        root = made(folder / f"{width}", count, width, height)
        images = loaded(root, "on", 0, image_size).train.images
        assert isinstance(images, Streamed)
        order = list(torch.arange(len(images)).split(128))
        for number in sorted({1, asked.workers}):
            threads, processes, starts = [], [], []
            for _ in range(asked.rounds):
                pool = Streamed(images.source, images.rows, images.device, number)
                threads.append(_rate(pool.batches(order))[0])
                loader = DataLoader(
                    _Rows(images, order),
                    batch_size=None,
                    num_workers=number,
                    multiprocessing_context="spawn",
                )
                rate, start = _rate(iter(loader))
                processes.append(rate)
                starts.append(start)
            cells = (f"{statistics.median(each):.0f}" for each in (threads, processes))
            print(f"| {name} | {number} | {' | '.join(cells)} | {statistics.median(starts):.1f} |")


def _rate(delivered: Iterator[Any]) -> tuple[float, float]:
    """Pictures a second after the first batch, and the seconds until that."""
    began = time.perf_counter()
    next(delivered)
    first = time.perf_counter()
    count = sum(len(each) for each in delivered)
    return count / (time.perf_counter() - first), first - began


def memory(asked: argparse.Namespace, folder: Path) -> None:
    print("| pictures of 128×128 | decoded, MiB | in memory: peak, MiB | streamed: peak, MiB |")
    print("|---:|---:|---:|---:|")
    for count in asked.counts:
        root = made(folder / f"{count}", count, 128, 128)
        peaks = [
            subprocess.run(
                [sys.executable, __file__, "pass", "--folder", str(root), "--how", how],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for how in ("off", "on")
        ]
        print(
            f"| {count} | {count * 3 * 128 * 128 / 2**20:.0f} | {' | '.join(peaks)} |", flush=True
        )


def costs(asked: argparse.Namespace, folder: Path) -> None:
    print("| JPEG files | to read and decode, µs | to compare, µs |")
    print("|---|---:|---:|")
    for name, side, image_size in (("32×32", (32, 32), None), ("to 224×224", (400, 300), 224)):
        root = made(folder / f"{side[0]}", KINDS, *side)
        images = loaded(root, "on", 0, image_size).train.images
        assert isinstance(images, Streamed) and isinstance(images.source, Encoded)
        unknown = replace(images, source=replace(images.source, known=None))
        pictures = images[:].numpy()
        whole = _least(lambda images=unknown: images[:], asked.rounds) / len(images)
        check = _least(lambda of=pictures: [hashes_of(x[None]) for x in of], asked.rounds)
        print(f"| {name} | {whole * 1e6:.0f} | {check / len(images) * 1e6:.0f} |")
    root = folder / "names"
    for number in range(20_000):
        file = root / f"class {number % 20:02}" / f"n01440764_{number:06}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for what, walk in (
        ("listing", lambda: listing(root, is_picture)),
        ("key", lambda: key_of(root, "folder", None)),
    ):
        tracemalloc.start()
        walk()
        print(f"{what}: {tracemalloc.get_traced_memory()[1] / 20_000:.0f} bytes a file at the most")
        tracemalloc.stop()


def _least(work: Callable[[], object], rounds: int) -> float:
    """Processor time, s, of the fastest of some rounds."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def one_pass(asked: argparse.Namespace) -> None:
    """Load a set for the first time and go through train once; print the peak in MiB."""
    train: Split = loaded(asked.folder, asked.how, asked.workers).train
    for _ in batches(train, 64, seed=0, shuffle=True, augment=Augment(8)):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    print(f"{peak / 2**10:.0f}")


if __name__ == "__main__":
    main()
