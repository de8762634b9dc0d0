"""All benchmarks of this folder in one table: `make bench`.

    python benchmarks/speed/all.py [--only attack mrc] [--rounds 2] [--out seconds.json]

Each subject is one thing done in the usual way and in ours, by turns in one process, on the same
pictures; the benchmark fails where their results differ. "times faster" is the usual way's seconds
over this way's. The share of the matmul rate is what a way's counted operations a second are of
the fastest product of two matrices that the machine made at the start, in the same precision.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from functools import partial

import command
from turns import Subject

FILES = ("attack", "train_step", "mrc", "finetune", "interpolate", "autoattack", "corruptions")


def main() -> None:
    made = command.parser(__doc__)
    made.add_argument("--only", nargs="+", choices=FILES, default=FILES)
    asked = made.parse_args()
    command.run([partial(subjects, name, asked) for name in asked.only], asked)


def subjects(name: str, asked: argparse.Namespace) -> Sequence[Subject]:
    """Those of one file, at its own defaults but for what is asked of all."""
    file = importlib.import_module(name)
    options = file.parser().parse_args([])
    vars(options).update({k: v for k, v in vars(asked).items() if k in vars(options)})
    return file.subjects(options)


if __name__ == "__main__":
    main()
