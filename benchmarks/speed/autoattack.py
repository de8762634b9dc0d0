"""The quick version of AutoAttack: APGD-CE and APGD-T, on a network half of whose pictures stand.

    python benchmarks/speed/autoattack.py [--pictures 16] [--shared FOLDER]

- usual: the package pyautoattack, the authors' own, where it is installed. Its random numbers
  are others, so that the verdicts may differ where luck decides.
- each by itself: our ten attacks, one after the other, each on all pictures that are classified
  rightly, the worst of them taken, as a list of attacks is commonly run.
- ours: each on what those before it left. Picture by picture the verdicts of the last two agree.

How well ours agrees with the package, stage by stage, on robust checkpoints and with all of its
attacks, is what benchmarks/autoattack.py studies.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import command
import inputs
from torch import Tensor, nn
from turns import Subject, Way

from hardy.attacks.autoattack import autoattack
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.evaluation.reference import PACKAGE, reference
from hardy.evaluation.robustness import Ensemble, judge, rightly
from hardy.models.folded import folded
from hardy.modes import evaluating, frozen
from hardy.threat import Linf

LUCK = 0.1  # of the pictures may have another verdict where the random numbers are others
BATCH = 64


def package(net: nn.Module, split: Split, eps: float) -> Tensor:
    """Which pictures withstand the package."""
    found = reference(net, split, Linf(eps), num_classes=10, version="quick", batch_size=BATCH)
    return found.cpu()


def by_itself(net: nn.Module, split: Split, eps: float) -> Tensor:
    """Which pictures withstand every one of our attacks, each made on all of them."""
    runs = [run for stage in autoattack(Linf(eps), 10, "quick") for run in stage.runs]
    with evaluating(net), frozen(net):
        right = rightly(net, split, BATCH)
        forward = folded(net, split.pixels(slice(0, BATCH)))
        rows = right.nonzero()[:, 0]
        for number, run in enumerate(runs):
            for place, batch in zip(
                rows.split(BATCH), batches(split.take(rows), BATCH, seed=0), strict=True
            ):
                draws = replace(batch.draws, restart=number)
                found = run.search(forward, batch.x, batch.y, draws, judge=net)
                right[place] &= ~found.broken
    return right.cpu()


def ours(net: nn.Module, split: Split, eps: float) -> Tensor:
    """Ours."""
    stages = autoattack(Linf(eps), 10, "quick")
    return judge(net, split, Ensemble("AutoAttack", stages, batch_size=BATCH)).robust


def alike(found: Mapping[str, Tensor]) -> str:
    """Whether the verdicts agree, but for luck with the package."""
    last = found["ours"]
    count, said = len(last), []
    for name, verdicts in found.items():
        if name == "ours":
            continue
        different = int((verdicts != last).sum())
        allowed = LUCK * count if PACKAGE in name else 0
        if different > allowed:
            raise SystemExit(f"{different} of {count} verdicts of {name} are not ours")
        said.append(f"{different} verdicts of '{name}' are others")
    return f"{int(last.sum())} of {count} pictures stand; {', '.join(said)}."


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--pictures", type=int, default=16)
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    count = 4 if options.quick else options.pictures
    net, split, eps, what = inputs.half_broken(options, count)
    ways = [
        Way("each by itself", partial(by_itself, net, split, eps)),
        Way("ours", partial(ours, net, split, eps)),
    ]
    if importlib.util.find_spec(PACKAGE) is not None:
        ways.insert(0, Way(f"usual: {PACKAGE}", partial(package, net, split, eps)))
    return [Subject(f"AutoAttack (quick), {count} pictures, thin_resnet18 {what}", ways, alike)]


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
