"""What benchmarks that train share: runs of hardy that go on where they were stopped, and how a
measurement stands in their tables."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from hardy.evaluation.results import Measurement


def arguments(description: str | None, out: str) -> argparse.ArgumentParser:
    """What all of them are told: where the data is, the folder of the runs, how many at once."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, a core each")
    return parser


def run(words: tuple[str, ...], folder: Path) -> None:
    """One run of hardy on one core, gone on with if it was stopped."""
    if (folder / "results.json").is_file():
        return
    resume = ("--resume",) if (folder / "config.json").is_file() else ()
    command = [sys.executable, "-m", "hardy", *words, "--out", str(folder), *resume]
    with (folder.parent / f"{folder.name}.log").open("a", encoding="utf-8") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
    if done.returncode:
        raise SystemExit(f"{folder.name} ended with {done.returncode}: see {log.name}")


def shown(m: Measurement, signed: bool = False) -> str:
    """Percent with its interval: '41.0 [38.9, 43.2]'."""
    low, high = m.interval or (float("nan"), float("nan"))
    return f"{100 * m.value:{'+' if signed else ''}.1f} [{100 * low:.1f}, {100 * high:.1f}]"
