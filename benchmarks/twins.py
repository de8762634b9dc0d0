"""From one adversarially trained network to two new tasks: adversarial fine-tuning, TWINS, RiFT.

    python benchmarks/twins.py run --data-root $SHARED/data --jobs 2

The start is `thin_resnet18`, adversarially trained on CIFAR-10 (JPEG); the tasks are ten classes of
Tiny-ImageNet at 32×32 and the digits of scikit-learn at 32×32. What is not there yet under --out is
trained (a run that was stopped goes on) and measured on all test pictures, over three seeds; then
RiFT is applied to what came of AT and of TWINS-AT. Both tables are printed of all that is there.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import arguments, run

from hardy.evaluation.results import Results, read
from hardy.evaluation.statistics import over_seeds

SEEDS = (0, 1, 2)
LR = 0.01
TASKS = {
    "tiny-imagenet": ("--data", "tiny-imagenet", "--image-size", "32"),
    "digits": ("--data", "digits", "--image-size", "32", "--channels", "3"),
}
COMMON = ("--device", "cpu", "--precision", "bf16")
START = (
    *("train", "--data", "folder:cifar10-jpeg.tar.xz", "--model", "thin_resnet18"),
    *("--normalize", "cifar10", "--method", "pgd_at", "--eps", "8/255", "--steps", "4"),
    *("--epochs", "6", "--schedule", "onecycle", "--eval-steps", "10", "--restarts", "1"),
    *("--val-pictures", "500", "--test-limit", "500"),
)
TUNE = (
    *("--num-classes", "auto", "--eps", "8/255", "--steps", "4", "--eval-steps", "10"),
    *("--epochs", "6", "--schedule", "multistep", "--milestones", "4"),
    *("--weight-decay", "1e-5", "--batch-size", "64", "--restarts", "1"),
)
MEASURE = (
    *("--attack", "pgd", "apgd-ce", "--eps", "8/255", "--over-seeds"),
    *("--curve-pictures", "0", "--preflight-pictures", "0"),
)
RIFT = (
    *("--eps", "8/255", "--modules", "search", "--k", "2", "--epochs", "6", "--milestones", "4"),
    *("--lr", "0.003", "--restarts", "1", "--weight-decay", "1e-5"),
    # The start has seen neither task, and test is measured as a whole.
    *("--choose-on", "val"),
)
QUANTITIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("clean, %", {"quantity": "clean accuracy"}),
    ("PGD-10 worst of 3, %", {"quantity": "robust accuracy", "attack": "PGD"}),
    ("APGD-CE, %", {"quantity": "robust accuracy", "attack": "APGD-CE"}),
)


@dataclass(frozen=True)
class Way:
    """One way to the new task: its name in the tables, and what is asked of `train`."""

    name: str
    words: tuple[str, ...]


def _twins(*options: str) -> tuple[str, ...]:
    return ("--method", "twins", *(("--method-options", *options) if options else ()))


WAYS = (
    Way("AT", ("--method", "pgd_at", "--lr", f"{LR:g}")),
    Way("AT, 2 × lr", ("--method", "pgd_at", "--lr", f"{2 * LR:g}")),
    Way("TWINS-AT", (*_twins(), "--lr", f"{LR:g}")),
    Way("TWINS-AT, normalised", (*_twins("normalised=true"), "--lr", f"{LR:g}")),
    Way("TRADES", ("--method", "trades", "--lr", f"{LR:g}")),
    Way("TWINS-TRADES", (*_twins("variant=trades"), "--lr", f"{LR:g}")),
)
ON_TOP = ("AT", "TWINS-AT")  # of these, RiFT


def main() -> None:
    parser = arguments(__doc__, "runs/twins")
    parser.add_argument("what", choices=("run", "table"))
    asked = parser.parse_args()
    if asked.what == "run":
        asked.out.mkdir(parents=True, exist_ok=True)
        _run_all(asked)
    for task in TASKS:
        print("\n".join([*_table(asked.out, task), ""]))


def _run_all(asked: argparse.Namespace) -> None:
    start = asked.out / "start"
    run((*START, *COMMON, *_root(asked)), start)
    jobs = [(task, way) for task in reversed(TASKS) for way in WAYS]
    with ThreadPoolExecutor(asked.jobs) as pool:
        for done in [pool.submit(_one, asked, start, task, way) for task, way in jobs]:
            done.result()


def _root(asked: argparse.Namespace) -> tuple[str, ...]:
    return ("--data-root", str(asked.data_root)) if asked.data_root else ()


def _one(asked: argparse.Namespace, start: Path, task: str, way: Way) -> None:
    """Train one way to one task over all seeds, measure it, and RiFT on top of some."""
    data = (*TASKS[task], *COMMON, *_root(asked))
    folder = asked.out / _name(task, way.name)
    seeds = ("--seeds", ",".join(map(str, SEEDS)))
    run(("train", *data, "--checkpoint", str(start), *TUNE, *way.words, *seeds), folder)
    _measure(data, folder)
    if way.name in ON_TOP:
        better = asked.out / _name(task, f"{way.name} + RiFT")
        run(("rift", *data, "--checkpoint", str(folder / "seed-{seed}"), *RIFT, *seeds), better)
        _measure(data, better)


def _measure(data: tuple[str, ...], folder: Path) -> None:
    networks = [str(folder / f"seed-{seed}") for seed in SEEDS]
    run(("evaluate", *networks, *data, *MEASURE), _measured(folder))


def _name(task: str, way: str) -> str:
    words = way.lower().replace("×", "x").replace("+", "").replace(",", "").split()
    return "-".join([task, *words])


def _measured(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-measured")


def _table(out: Path, task: str) -> list[str]:
    """Means ± std over the seeds, and beside them the mean difference from AT of the same seed
    with its 95 % t interval."""
    heads = [f"{name} | − AT" for name, _ in QUANTITIES]
    rows = [f"| {task} | {' | '.join(heads)} |", f"|---|{'---:|' * 2 * len(QUANTITIES)}"]
    usual = _there(out / _name(task, "AT"))
    names = [way.name for way in WAYS] + [f"{name} + RiFT" for name in ON_TOP]
    for name in names:
        found = _there(out / _name(task, name))
        if found is None:
            continue
        cells = []
        for _, wanted in QUANTITIES:
            values = _values(found, wanted)
            mean, std, _ = over_seeds(values)
            cells.append(f"{100 * mean:.1f} ± {100 * std:.1f}")
            if usual is None or name == "AT":
                cells.append("")
                continue
            before = _values(usual, wanted)
            gain, _, (low, high) = over_seeds([a - b for a, b in zip(values, before, strict=True)])
            cells.append(f"{100 * gain:+.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _there(folder: Path) -> Results | None:
    found = _measured(folder)
    return read(found) if (found / "results.json").is_file() else None


def _values(results: Results, wanted: dict[str, Any]) -> list[float]:
    """One value of each network, in the order of the seeds."""
    values = [m.value for m in results.select(**wanted)]
    assert len(values) == len(SEEDS), "evaluate was given a network of each seed"
    return values


if __name__ == "__main__":
    main()
