"""How long a verb takes to its first step, and `hardy --help` to its end.

    python benchmarks/speed/start.py [--only train why] [--rounds 3]
    python benchmarks/speed/start.py --data cifar10 --data-root data --only train

Each is a process of its own. Its time runs from its start, Python's and torch's own included, to
the end of the first gradient that it takes: of an attack's first step, an ascent's or a training
step's. Verbs that take none are timed to their end, which are report, and export and features at
64 pictures. What they read (a run of one epoch on the digits, and its exported copy) is made
beforehand. Seconds of the processor stand beside those of the wall.

With --data the same on another set: the first start decodes it into a cache of its own, the later
ones read that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

VERBS = (
    "help",
    "demo",
    "train",
    "rift",
    "mrc",
    "evaluate",
    "ligs",
    "transfer",
    "why",
    "features",
    "export",
    "report",
)
GOALS = {"help": 0.5}
GOAL = 4.0


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", nargs="+", choices=VERBS, default=VERBS)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--data", default="digits")
    made.add_argument("--data-root", type=Path)
    made.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.child is not None:
        child(options.child)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARDY_CACHE"] = f"{folder}/cache"
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """The table."""
    on = ["--data", options.data]
    if options.data_root is not None:
        on += ["--data-root", str(options.data_root.resolve())]
    at = str(folder / "at")
    if {*options.only} - {"help", "demo", "train"}:
        done("train", *on, "--epochs", "1", "--out", at, "--model", "small_resnet")
        done("export", at, *on, "--check-pictures", "8", "--out", str(folder / "exported"))
    more: dict[str, list[str]] = {
        "help": ["--help"],
        "demo": ["demo"],
        "train": ["train", *on, "--model", "small_resnet"],
        "rift": ["rift", *on, "--checkpoint", at],
        "mrc": ["mrc", *on, "--checkpoint", at],
        "evaluate": ["evaluate", at, *on],
        "ligs": ["ligs", at, *on],
        "transfer": ["transfer", at, *on, "--targets", at],
        "why": ["why", at, *on, "--corruptions", "gaussian_noise"],
        "features": ["features", at, *on, "--limit", "64"],
        "export": ["export", at, *on, "--check-pictures", "64"],
        "report": ["report", str(folder / "exported")],
    }
    print("| | first start, s | later, s | of the processor, s | goal |\n|---|---:|---:|---:|---|")
    for verb in options.only:
        words = more[verb]
        seconds = [started(words, folder / f"{verb}-{i}") for i in range(options.rounds + 1)]
        first, later = seconds[0], min(seconds[1:] or seconds)
        goal = GOALS.get(verb, GOAL)
        met = "met" if later[0] < goal else "**missed**"
        print(f"| {verb} | {first[0]:.2f} | {later[0]:.2f} | {later[1]:.2f} | < {goal:g} {met} |")


def started(words: Sequence[str], out: Path) -> tuple[float, float]:
    """Seconds to the first step, by the wall and of the processor."""
    if words[0] == "--help":
        command = [str(Path(sys.executable).with_name("hardy")), "--help"]
        began, used = time.perf_counter(), os.times()
        subprocess.run(command, check=True, capture_output=True)
        now = os.times()
        spent = now.children_user + now.children_system - used.children_user - used.children_system
        return time.perf_counter() - began, spent
    if words[0] != "report":
        words = [*words, "--out", str(out)]
    began = time.time()
    command = [sys.executable, __file__, "--child", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise SystemExit(f"hardy {' '.join(words)} failed: {done.stderr[-500:]}")
    told = json.loads(lines[-1])
    return told["now"] - began, told["used"]


def child(words: Sequence[str]) -> None:
    """Run a verb until its first gradient has been taken, or to its end, and say when that was."""
    from hardy.cli import run

    watched()
    if code := run(words):
        raise SystemExit(code)
    stop()


def watched() -> None:
    """End the process as soon as a gradient has been taken."""
    import torch

    for place, name in ((torch.autograd, "grad"), (torch.autograd, "backward")):
        takes = getattr(place, name)

        def then_stop(*arguments: object, takes=takes, **more: object) -> None:
            takes(*arguments, **more)
            stop()

        setattr(place, name, then_stop)


def stop() -> None:
    """Say the time, and how much of the processor was used, and end."""
    print(json.dumps({"now": time.time(), "used": time.process_time()}), flush=True)
    os._exit(0)


def done(*words: str) -> None:
    """A whole run of hardy, before anything is timed."""
    command = [sys.executable, "-m", "hardy", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"hardy {' '.join(words)} failed: {run.stderr[-500:]}")


if __name__ == "__main__":
    main()
