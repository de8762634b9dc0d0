"""How far two measurements of criticality agree: a table and Spearman's rank correlation.

python benchmarks/mrc_agreement.py runs/mrc-default runs/mrc-official
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from hardy.evaluation.results import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs=2)
    first, second = (read(folder) for folder in parser.parse_args().runs)
    mrc = [{m.subject: m.value for m in run.select("mrc")} for run in (first, second)]
    drop = [
        {m.subject: 100 * m.value for m in run.select("robust accuracy drop")}
        for run in (first, second)
    ]
    modules = [name for name in mrc[0] if name in mrc[1]]
    if len(modules) < 3:
        raise SystemExit("the two runs share fewer than three modules: nothing to compare")
    ranks = [sorted(modules, key=values.__getitem__) for values in mrc]

    print("| module | MRC A | rank | drop, points | MRC B | rank | drop, points |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in modules:
        cells = [
            f"{mrc[i][name]:.4f} | {ranks[i].index(name) + 1} | {drop[i][name]:.2f}" for i in (0, 1)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    ranked = [rankdata([each[name] for name in modules]) for each in mrc]
    print(f"\nSpearman's rank correlation of the two: {np.corrcoef(*ranked)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
