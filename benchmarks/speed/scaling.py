"""How the criticality of modules grows with pictures, modules and processes, and its memory.

    python benchmarks/speed/scaling.py [--images 64 128 256] [--model resnet18] [--devices 1 2]

For every number of pictures, all modules and every second one: operations counted, seconds, and
operations a second, which stay the same where the time follows the count; and by how much a process
of its own grows. Then the whole verb, `hardy mrc`, its start included, for --devices processes of
one thread each. In fp32.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import inputs
import numpy as np
import torch
from machine import clock_of, machine

from hardy.evaluation.footprint import operations
from hardy.finetuning.ascents import Ascent
from hardy.finetuning.mrc import candidates, mrc
from hardy.models.architecture import Architecture
from hardy.models.load import save
from hardy.verbs.asked.inputs import placed


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--images", type=int, nargs="+", default=[64, 128, 256])
    made.add_argument("--steps", type=int, default=3)
    made.add_argument("--model", default="resnet18")
    made.add_argument("--devices", type=int, nargs="*", default=[1, 2])
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    made.add_argument("--clock", choices=("wall", "processor"), default="wall")
    made.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(grown(options))
        return
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    by_size(options)
    if options.devices:
        by_devices(options)


def by_size(options: argparse.Namespace) -> None:
    """A row for each number of pictures and modules."""
    now = clock_of(options.clock, "cpu")
    names = candidates(inputs.network(options.model))
    print("\n| pictures | modules | TFLOP | s | GFLOP/s | MiB of memory |")
    print("|---:|---:|---:|---:|---:|---:|")
    for count in options.images:
        for modules in (names[::2], names):
            measured(options, count, modules[-2:])  # warms up
            began = now()
            measured(options, count, modules)
            seconds = now() - began
            counted = operations(lambda c=count, m=modules: measured(options, c, m))
            size = f"{memory(options, count) / 2**20:.0f}" if modules is names else ""
            print(
                f"| {count} | {len(modules)} | {counted / 1e12:.2f} | {seconds:.1f} "
                f"| {counted / seconds / 1e9:.0f} | {size} |",
                flush=True,
            )


def measured(options: argparse.Namespace, count: int, modules: list[str]) -> None:
    """Criticality of some modules on so many pictures."""
    net = placed(inputs.network(options.model), torch.device("cpu"))
    split = inputs.pictures(count)
    x = split.pixels(slice(None))
    list(mrc(net, x, x, split.labels, modules=modules, ascent=Ascent(steps=options.steps)))


def memory(options: argparse.Namespace, count: int) -> int:
    """By how many bytes a process of its own grows that measures all modules."""
    words = [f"--{name}={getattr(options, name)}" for name in ("steps", "model", "threads")]
    child = [sys.executable, __file__, *words, f"--memory={count}"]
    return int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)


def grown(options: argparse.Namespace) -> int:
    """The bytes by which this process grows."""
    names = candidates(inputs.network(options.model))
    measured(options, 2, names[-1:])  # what is loaded on first use is no part of it
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    measured(options, options.memory, names)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def by_devices(options: argparse.Namespace) -> None:
    """A row for each number of processes."""
    count = max(options.images)
    print("\n| processes | s | times faster |\n|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        root, first = Path(folder), None
        os.environ["HARDY_CACHE"] = f"{folder}/cache"
        net = Architecture(options.model, 10, 3, "none")
        save(root / "net.safetensors", net.build(), net, classes=(), extra={})
        split = inputs.pictures(2 * count)
        images = split.images[:].permute(0, 2, 3, 1).numpy()
        np.savez(root / "made.npz", image=images, label=split.labels.numpy())
        for devices in options.devices:
            words = f"mrc --checkpoint {root}/net.safetensors --data npz:{root}/made.npz"
            words += f" --mrc-pictures {count} --out {root}/mrc-{devices} --devices {devices}"
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "hardy", *words.split()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                check=True,
            )
            seconds = time.perf_counter() - began
            first = first or seconds
            print(f"| {devices} | {seconds:.1f} | {first / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
