"""What the benchmarks of this folder share as commands: their flags, the run and its table."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from machine import DTYPES, clock_of, machine, matmul_rate
from turns import Subject, Timed, in_turns


def parser(description: str | None) -> argparse.ArgumentParser:
    """The flags that every benchmark of this folder has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=2, help="after the first, which warms up")
    made.add_argument(
        "--patience", type=float, default=80, help="seconds after which no further round is begun"
    )
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    made.add_argument("--clock", choices=("wall", "processor"), default="wall")
    made.add_argument("--device", default="cpu")
    made.add_argument("--quick", action="store_true", help="small networks, few pictures, no goals")
    made.add_argument("--shared", type=Path, help="a folder with checkpoints/ and data/")
    made.add_argument("--out", type=Path, help="keep all seconds in this .json file")
    return made


def run(sources: Iterable[Callable[[], Sequence[Subject]]], options: argparse.Namespace) -> None:
    """Time all subjects, one source after the other, print the machine and one table, and keep
    the seconds where --out says."""
    torch.set_num_threads(options.threads)
    now = clock_of(options.clock, options.device)
    about = machine(options.device)
    rates = {precision: matmul_rate(precision, now, options.device) for precision in DTYPES}
    all_timed: list[Timed] = []
    for source in sources:
        for subject in source():
            print(subject.title, file=sys.stderr, flush=True)
            timed = in_turns(subject, options.rounds, now, options.patience)
            all_timed.append(timed)
    print(heading(about, rates, options.clock))
    print(table(all_timed, rates))
    if options.out is not None:
        kept = {
            "machine": about,
            "clock": options.clock,
            "matmul": rates,
            "subjects": [
                {"title": t.subject.title, "seconds": t.seconds, "said": t.said} for t in all_timed
            ],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


def heading(about: Mapping[str, str | int], rates: Mapping[str, float], clock: str) -> str:
    """The machine, and its own rates, in Markdown."""
    words = ", ".join(f"{name} {value}" for name, value in about.items())
    products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    kind = "by the wall" if clock == "wall" else "of the processor, all threads together"
    return f"{words}. Matrix products: {products}. Seconds {kind}.\n"


def table(all_timed: Sequence[Timed], rates: Mapping[str, float]) -> str:
    """Markdown: a row a way, and beneath what was said of the results."""
    lines = [
        "| | s | spread | times faster | goal | of the matmul rate |",
        "|---|---:|---:|---:|---|---:|",
    ]
    said = []
    for timed in all_timed:
        lines.append(f"| **{timed.subject.title}** | | | | | |")
        for way in timed.subject.ways:
            goal, share = timed.subject.goals.get(way.name), timed.share(way, rates)
            met = (
                ""
                if goal is None
                else f"≥ {goal:g} {'met' if timed.met(way.name) else '**missed**'}"
            )
            spread = timed.spread(way.name)
            cells = [
                way.name,
                f"{timed.fastest(way.name):.3g}",
                "" if math.isnan(spread) else f"{100 * spread:.0f} %",
                f"{timed.times(way.name):.2f}",
                met,
                "" if share is None else f"{100 * share:.0f} %",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        count = len(timed.seconds[timed.subject.ways[0].name])
        rounds = "one round" if count == 1 else f"fastest of {count} rounds"
        said.append(f"- {timed.subject.title}: {rounds}. {timed.said}".rstrip())
    return "\n".join([*lines, "", *said])
