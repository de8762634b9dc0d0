"""Where a benchmark runs: the machine in words, its clocks, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

Clock = Callable[[], float]
# What a processor must have for fast products in half precision.
UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def clock_of(kind: str, device: str) -> Clock:
    """Seconds by the wall, after what was begun on a GPU is done; or seconds of the processor, of
    all threads, which other work on the machine disturbs little."""
    if kind == "processor":
        if torch.device(device).type != "cpu":
            raise SystemExit("a GPU's work is not seen by the processor's clock: give --clock wall")
        return time.process_time

    def now() -> float:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def machine(device: str = "cpu") -> dict[str, str | int]:
    """Its processor or GPU, the cores this process may use, and the versions that matter."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = fields.get("flags", fields.get("Features", "")).split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, str | int] = {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores or 1,
        "units": ", ".join(unit for unit in UNITS if unit in flags) or "unknown",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if torch.device(device).type == "cuda":
        found["GPU"] = torch.cuda.get_device_name(device)
    return found


def matmul_rate(
    precision: str,
    now: Clock,
    device: str = "cpu",
    sizes: Iterable[int] = (1024, 2048, 3072),
    rounds: int = 3,
) -> float:
    """The most operations a second, a multiply-add as two, that a product of two square matrices
    of any of these sizes reaches in that precision."""
    best = 0.0
    for size in sizes:
        a = torch.ones(size, size, device=device, dtype=DTYPES[precision])
        for _ in range(rounds + 1):
            began = now()
            torch.mm(a, a)
            best = max(best, 2 * size**3 / max(now() - began, 1e-9))
    return best
