"""Our AutoAttack beside pyautoattack, the authors' own as a package, on three robust checkpoints.

    python benchmarks/autoattack.py run   --shared FOLDER --out FOLDER [--cases …] [--seeds …]
    python benchmarks/autoattack.py table --shared FOLDER --out FOLDER
    python benchmarks/autoattack.py time  --shared FOLDER [--cases …] [--pictures 100]

`run` keeps what each run found in --out, a file each, and goes on after a stop; `table` prints
the robust accuracies, their spread over seeds, and which examples one broke and the other did
not. `time` runs both by turns, stage by stage, on the same examples: ours in full precision, ours
searching in bf16 with every break confirmed in full precision, and pyautoattack. Times are of
the processor, on one thread, so that others on the machine disturb them little. FAB-T draws no
random numbers: what it did to an example under one seed is taken over under the next.
FOLDER holds checkpoints/ and data/; the pictures are a stratified sample of the test split. This is
the study of whether ours finds what theirs does; how fast it is beside the usual ways is one table
with everything else in benchmarks/speed/autoattack.py.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hardy.attacks.active_set import STANDS, WRONG, cascade
from hardy.attacks.autoattack import autoattack
from hardy.data.load import load_data
from hardy.data.splits import Split, limited
from hardy.evaluation.reference import STAGES, reference_stage
from hardy.evaluation.robustness import rightly
from hardy.files import write_json
from hardy.models.folded import folded
from hardy.models.load import load
from hardy.modes import evaluating, forward_in, frozen
from hardy.threat import Linf
from hardy.verbs.asked.inputs import placed

NAMES = ("APGD-CE", "APGD-T", "FAB-T", "Square")
KINDS = ("fp32", "bf16", "pyautoattack")


@dataclass(frozen=True)
class Case:
    """A checkpoint, its data and the radius it is attacked at."""

    file: str
    model: str
    normalize: str
    data: str
    root: str
    eps: float


CIFAR = ("cifar10", "data/cifar-10-python-head.tar.gz")
CASES = {
    "resnet2b-2": Case("cifar10_resnet2b.pth", "resnet2b", "cifar10", *CIFAR, 2 / 255),
    "resnet2b-8": Case("cifar10_resnet2b.pth", "resnet2b", "cifar10", *CIFAR, 8 / 255),
    "mnist": Case("mnist_trades_smallcnn.pt", "mnist_cnn", "none", "mnist", "data", 0.3),
    "thin": Case(
        "cifar10_thin_resnet18_pgd_at.pth",
        "thin_resnet18",
        "cifar10",
        "folder:cifar10-jpeg.tar.xz",
        "data",
        8 / 255,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "table", "time"))
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/autoattack"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=250)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "run":
        asked.out.mkdir(parents=True, exist_ok=True)
        for seed in asked.seeds:
            for case in asked.cases:
                for kind in asked.kinds:
                    run(asked, case, kind, seed)
    elif asked.what == "table":
        table(asked)
    else:
        for case in asked.cases:
            by_turns(asked, case)


def loaded(shared: Path, case: Case, pictures: int) -> tuple[nn.Module, Split]:
    net = load(shared / "checkpoints" / case.file, model=case.model, normalize=case.normalize)
    data = load_data(case.data, shared / case.root)
    return net, limited(data.test, pictures, 0)


@dataclass(frozen=True)
class Known:
    """Which examples FAB-T has attacked under another seed, and which of them withstood; bool."""

    attacked: Tensor
    withstood: Tensor

    @classmethod
    def of(cls, paths: Iterable[Path], count: int) -> Known:
        attacked = withstood = torch.zeros(count, dtype=torch.bool)
        for by in (torch.from_numpy(kept_in(path)["by"]) for path in paths):
            attacked = attacked | (by == STANDS) | (by >= 2)
            withstood = withstood | (by == STANDS) | (by == 3)
        return cls(attacked, withstood)


def stages_of(
    kind: str,
    net: nn.Module,
    split: Split,
    eps: float,
    seed: int,
    batch_size: int,
    known: Known | None = None,
) -> Iterator[tuple[Tensor, float]]:
    """After clean accuracy and after each stage: who stands, and the seconds it took."""
    known = known or Known.of([], len(split))
    if kind != "pyautoattack":
        # A copy: pyautoattack is given the network as it is loaded.
        net = placed(copy.deepcopy(net), torch.device("cpu"))
        started = time.process_time()
        search = folded(net, split.pixels(slice(0, batch_size)))
        forward = forward_in(search, "cpu", kind)
        judge = None if search is net and kind == "fp32" else net
        standing = rightly(net, split, batch_size)
        yield standing, time.process_time() - started
        for number, stage in enumerate(autoattack(Linf(eps), 10)):
            started = time.process_time()
            told = known.attacked if stage.name == "FAB-T" else torch.zeros_like(standing)
            by = cascade(
                forward,
                [stage],
                split,
                standing & ~told,
                seed=seed + 1000 * number,  # as in one cascade, no stage draws another's numbers
                batch_size=batch_size,
                judge=judge,
            )
            standing = (by == STANDS) | (standing & told & known.withstood)
            yield standing, time.process_time() - started
        return
    standing = rightly(net, split, batch_size)
    yield standing, 0.0
    for stage in STAGES["standard"]:
        started = time.process_time()
        told = known.attacked if stage == "fab-t" else torch.zeros_like(standing)
        found = reference_stage(
            net,
            split,
            standing & ~told,
            Linf(eps),
            stage,
            num_classes=10,
            seed=seed,
            batch_size=batch_size,
        )
        standing = found | (standing & told & known.withstood)
        yield standing, time.process_time() - started


def run(asked: argparse.Namespace, name: str, kind: str, seed: int) -> None:
    path: Path = asked.out / f"{name}-{kind}-{seed}.json"
    if path.exists():
        return
    net, split = loaded(asked.shared, CASES[name], asked.pictures)
    known = Known.of(asked.out.glob(f"{name}-{kind}-*.json"), len(split))
    found = []
    with evaluating(net), frozen(net):
        for stands, seconds in stages_of(
            kind, net, split, CASES[name].eps, seed, asked.batch_size, known
        ):
            found.append((stands, seconds))
            print(name, kind, seed, int(stands.sum()), f"{seconds:.1f} s", flush=True)
    right, *after = (stands for stands, _ in found)
    by = torch.where(right, STANDS, WRONG)
    for number, (before, stands) in enumerate(zip([right, *after], after, strict=False)):
        by[before & ~stands] = number
    kept = {"index": split.index.tolist(), "by": by.tolist()}
    write_json(path, {**kept, "seconds": [round(seconds, 1) for _, seconds in found]})


def kept_in(path: Path) -> dict[str, np.ndarray]:
    """What `run` kept: index, each example's place in its split; by, the number of the stage
    that broke it, STANDS or WRONG; seconds, of clean accuracy and each stage."""
    return {name: np.array(value) for name, value in json.loads(path.read_text()).items()}


def table(asked: argparse.Namespace) -> None:
    for name in asked.cases:
        kept = {
            (kind, seed): kept_in(path)
            for kind in asked.kinds
            for seed in asked.seeds
            if (path := asked.out / f"{name}-{kind}-{seed}.json").exists()
        }
        print(f"\n{name}, {asked.pictures} pictures: standing after each stage, of seeds")
        for kind in asked.kinds:
            for seed in asked.seeds:
                if (kind, seed) in kept:
                    by = kept[kind, seed]["by"]
                    right = (by != WRONG).sum()
                    left = right - np.cumsum([(by == stage).sum() for stage in range(4)])
                    print(f"  {kind:13}{seed:3}  clean {right}, then {left.tolist()}")
        theirs = [one["by"] == STANDS for key, one in kept.items() if key[0] == "pyautoattack"]
        for kind in ("fp32", "bf16"):
            ours = [one["by"] == STANDS for key, one in kept.items() if key[0] == kind]
            if not ours or not theirs:
                continue
            spread = max(t.sum() for t in theirs) - min(t.sum() for t in theirs)
            furthest = max(max(0, o.sum() - max(t.sum() for t in theirs)) for o in ours)
            missed = [i for i in range(len(ours[0])) if all(o[i] for o in ours)]
            missed = [i for i in missed if any(not t[i] for t in theirs)]
            more = [i for i in range(len(ours[0])) if all(t[i] for t in theirs)]
            more = [i for i in more if any(not o[i] for o in ours)]
            print(
                f"  {kind}: the reference's spread over seeds {spread}; at most {furthest} more "
                f"stand after ours than after any of its runs; broken by it alone {missed}, "
                f"by ours alone {more}"
            )


def by_turns(asked: argparse.Namespace, name: str) -> None:
    case = CASES[name]
    net, split = loaded(asked.shared, case, asked.pictures)
    print(f"\n{name}: {asked.pictures} pictures, seconds of one thread")
    print(f"  {'':14}" + "".join(f"{stage:>10}" for stage in NAMES) + f"{'all':>10}{'times':>8}")
    with evaluating(net):
        kinds = [
            stages_of(kind, net, split, case.eps, asked.seeds[0], asked.batch_size)
            for kind in KINDS
        ]
        taken = np.array([[seconds for _, seconds in turn] for turn in zip(*kinds, strict=True)])
    whole = taken.sum(0)
    for column, kind in enumerate(KINDS):
        stages = "".join(f"{seconds:10.2f}" for seconds in taken[1:, column])
        print(f"  {kind:14}{stages}{whole[column]:10.2f}{whole[-1] / whole[column]:8.2f}")


if __name__ == "__main__":
    main()
