"""Robust distillation into a quarter of the teacher: five methods and plain adversarial training.

    python benchmarks/distillation.py run --data-root $SHARED/data --jobs 2
    python benchmarks/distillation.py time

`run` trains what is not there yet under --out (a run that was stopped goes on), measures it, and
prints the tables of all that is: the methods at 8/255 over three seeds, and three of them over the
radius of training. `time` measures a step of each method, by turns in one process, and counts its
operations: seconds are of the processor, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from runs import arguments, run, shown

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.footprint import forward_operations, operations
from hardy.evaluation.results import Results, read
from hardy.methods.find import make
from hardy.methods.protocol import Nets
from hardy.methods.teacher import Teacher
from hardy.models.architecture import Architecture
from hardy.models.folded import folded
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, started

Job = tuple[str, int]  # a method and the radius of its training, in grey levels

METHODS = ("pgd_at", "ard", "iad", "rslad", "adaad", "adaiad")
MAIN = 8
SWEPT = ("pgd_at", "rslad", "adaad")
RADII = (4, 8, 16, 24)
SEEDS = (0, 1, 2)  # at the main radius; the first alone at the others
JOBS: list[Job] = [(method, MAIN) for method in METHODS]
JOBS += [(method, radius) for radius in RADII if radius != MAIN for method in SWEPT]
DATA = ("--data", "folder:cifar10-jpeg.tar.xz", "--device", "cpu", "--precision", "bf16")
TRAIN = (
    *("--steps", "4", "--eval-eps", "8/255", "--eval-steps", "10", "--schedule", "onecycle"),
    *("--val-pictures", "500", "--test-limit", "500", "--restarts", "1"),
)
TEACHER = ("--model", "thin_resnet18", "--normalize", "cifar10", "--epochs", "6")
STUDENT = ("--model", "slim_resnet18", "--normalize", "cifar10", "--epochs", "8")
PICTURES = ("--limit", "10000")
MEASURE = (
    *("--attack", "pgd", "apgd-ce", "--limit", "1000", "--eps", "8/255"),
    *("--curve-pictures", "0", "--preflight-pictures", "0"),
)


def main() -> None:
    parser = arguments(__doc__, "runs/distillation")
    parser.add_argument("what", choices=("run", "table", "time"))
    parser.add_argument("--steps", type=int, default=4, help="of the attack whose step is timed")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.what == "time":
        step_times(asked.steps, asked.rounds)
        return
    if asked.what == "run":
        asked.out.mkdir(parents=True, exist_ok=True)
        _run_all(asked)
    print("\n".join([*_method_table(asked.out), "", *_radius_table(asked.out)]))


def _run_all(asked: argparse.Namespace) -> None:
    root = ("--data-root", str(asked.data_root)) if asked.data_root else ()
    teacher = asked.out / "teacher"

    def prepare() -> None:
        words = (*TEACHER, *TRAIN, "--method", "pgd_at", "--eps", "8/255")
        run(("train", *DATA, *root, *words), teacher)
        run(("evaluate", str(teacher), *DATA, *root, *MEASURE), _measured(teacher))

    def train(job: Job) -> None:
        method, radius = job
        folder = asked.out / _name(job)
        words = ("train", *DATA, *root, *PICTURES, *STUDENT, *TRAIN, "--method", method)
        words += ("--eps", f"{radius}/255")
        words += () if method == "pgd_at" else ("--teacher", str(teacher))
        networks, over = [str(folder)], ()
        if radius == MAIN:
            words += ("--seeds", ",".join(map(str, SEEDS)))
            networks, over = [str(folder / f"seed-{seed}") for seed in SEEDS], ("--over-seeds",)
        run(words, folder)
        run(("evaluate", *networks, *DATA, *root, *MEASURE, *over), _measured(folder))

    with ThreadPoolExecutor(asked.jobs) as pool:
        ready = pool.submit(prepare)
        # What needs no teacher is trained beside it.
        running = [pool.submit(train, job) for job in JOBS if job[0] == "pgd_at"]
        ready.result()
        running += [pool.submit(train, job) for job in JOBS if job[0] != "pgd_at"]
        for each in running:
            each.result()


def _name(job: Job) -> str:
    return f"{job[0]}-{job[1]}"


def _measured(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-measured")


def _method_table(out: Path) -> list[str]:
    rows = [
        "| | clean, % | PGD-10 worst of 3, % | APGD-CE, % |",
        "|---|---:|---:|---:|",
    ]
    if (results := _there(out / "teacher")) is not None:
        rows.append(f"| the teacher | {' | '.join(_cells(results))} |")
    for method in METHODS:
        if (results := _there(out / _name((method, MAIN)))) is not None:
            rows.append(f"| {method} | {' | '.join(_cells(results, mean=True))} |")
    return rows


def _radius_table(out: Path) -> list[str]:
    radii = [f"{radius}/255" for radius in RADII]
    rows = [
        f"| method | accuracy, % | {' | '.join(radii)} |",
        f"|---|---|{'---:|' * len(radii)}",
    ]
    for method in SWEPT:
        found = [_there(out / _name((method, radius))) for radius in RADII]
        cells = [["–"] * 3 if results is None else _cells(results) for results in found]
        for i, name in enumerate(("clean", "PGD-10 worst of 3", "APGD-CE")):
            row = " | ".join(each[i] for each in cells)
            rows.append(f"| {'' if i else method} | {name} | {row} |")
    return rows


def _there(folder: Path) -> Results | None:
    found = _measured(folder)
    return read(found) if (found / "results.json").is_file() else None


def _cells(results: Results, mean: bool = False) -> list[str]:
    """Clean accuracy, under PGD and under APGD: the mean ± std over seeds, or of the first
    network with its interval."""
    wanted: tuple[dict[str, Any], ...] = (
        {"of": "clean accuracy"},
        {"of": "robust accuracy", "attack": "PGD"},
        {"of": "robust accuracy", "attack": "APGD-CE"},
    )
    cells = []
    for one in wanted:
        if mean:
            m = next(results.select("mean over seeds", **one))
            cells.append(f"{100 * m.value:.1f} ± {100 * float(str(m.setting['std'])):.1f}")
        else:
            own = {name: value for name, value in one.items() if name != "of"}
            cells.append(shown(next(results.select(one["of"], **own))))
    return cells


def step_times(steps: int, rounds: int) -> None:
    """Print the cost of a step of each method against PGD-AT's."""
    torch.set_num_threads(1)
    loops = {method: _loop(method, steps) for method in METHODS}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for number in range(rounds + 1):  # the first round warms up
        for method, loop in loops.items():
            batch = next(loop.batches(number))
            began = time.process_time()
            _step(loop, batch)
            seconds[method].append(time.process_time() - began)
    student, teacher = _net("slim_resnet18"), _net("thin_resnet18")
    picture = torch.rand(1, 3, 32, 32)
    f, g = forward_operations(student, picture), forward_operations(teacher, picture)
    print(f"F: student {f / 1e6:.1f} MFLOP, teacher {g / 1e6:.1f} = {g / f:.2f} of the student's")
    print("| method | s a step of 128 | times PGD-AT's | operations, F of the student | times |")
    print("|---|---:|---:|---:|---:|")
    usual = statistics.median(seconds["pgd_at"][1:])
    count = {method: _counted(loop) / f for method, loop in loops.items()}
    for method in METHODS:
        took = statistics.median(seconds[method][1:])
        print(
            f"| {method} | {took:.2f} | {took / usual:.2f} | {count[method]:.1f} | "
            f"{count[method] / count['pgd_at']:.2f} |"
        )


def _net(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return Architecture(name, 10, 3, "cifar10").build().to(memory_format=torch.channels_last)  # pyright: ignore


def _loop(name: str, steps: int) -> Loop:
    """A run of that method on random pictures, its teacher as in training."""
    torch.manual_seed(0)
    images = torch.randint(256, (512, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(10, (512,))
    train = Split(images, labels, torch.arange(512), "train")
    student = _net("slim_resnet18")
    teacher = folded(_net("thin_resnet18").eval(), train.pixels(slice(0, 8)))
    nets = Nets(student, student, student, {"robust": Teacher(teacher, "bf16")})
    attack = PGD(Linf(8 / 255), steps)
    engine = Engine(torch.device("cpu"), "bf16")
    # After the warm-up, where those that have one are dearest.
    return started(engine, nets, make(name), attack, train, None, Settings(epochs=10), name)


def _step(loop: Loop, batch: Any) -> None:
    loop.step(batch, loop.steps * loop.settings.epochs - 1, 0.0)


def _counted(loop: Loop) -> float:
    """Operations of a step, per picture."""
    batch = next(loop.batches(0)).take(slice(0, 4))
    return operations(lambda: _step(loop, batch)) / len(batch)


if __name__ == "__main__":
    main()
