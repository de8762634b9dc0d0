"""The point on the way to fine-tuned weights that keeps robustness and has most clean accuracy.

    python benchmarks/speed/interpolate.py [--pictures 96] [--shared FOLDER]

The usual script measures clean accuracy and the worst of three PGD-10 at eleven points, every
restart on every picture, and then chooses. It takes gradients as ours does, to the pictures alone.
Ours on the full path attacks only what still stands; and where nothing but the choice is asked for
(`hardy rift --path deciding`) only the points that could still be chosen. All choose the same point
with the same verdicts; of a hundred points in place of ten one at least as good.

With --shared the network is adversarially trained, the pictures are CIFAR-10's, and the module is
fine-tuned on other pictures of it; without it, network and pictures are made up, a third of the
labels are others than the network's answers, and the way leads to a last map fitted to them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import attack
import command
import inputs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import Subject, Way

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split, parted
from hardy.evaluation.robustness import Protocol, Verdicts, judge, rightly
from hardy.evaluation.steps import Steps
from hardy.finetuning.deciding import Rule, deciding_path
from hardy.finetuning.interpolate import Point, choose, path, weights_at
from hardy.finetuning.tune import Candidate, tune
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.settings import Settings

ALPHAS = tuple(i / 10 for i in range(11))
FINE = tuple(i / 100 for i in range(1, 101))
TOLERANCE, BATCH = 0.02, 64


@dataclass(frozen=True)
class Case:
    """A network, the entries in which its fine-tuned self differs, and the pictures."""

    net: nn.Module
    end: Mapping[str, Tensor]
    split: Split
    eps: float

    @property
    def protocol(self) -> Protocol:
        return Protocol(PGD(Linf(self.eps), attack.STEPS), 3, batch_size=BATCH)


def usual(case: Case) -> Point:
    """Every point, every restart, every picture."""
    points = []
    for alpha in ALPHAS:
        net = copy.deepcopy(case.net)
        net.load_state_dict(weights_at(case.net.state_dict(), case.end, alpha))
        robust = attack.usual_evaluation(net, case.split, case.eps, BATCH)
        clean = rightly(net, case.split, BATCH)
        points.append(Point(alpha, Verdicts(clean.cpu(), robust.cpu())))
    return choose(points[0], points[1:], TOLERANCE)


def full(case: Case) -> Point:
    """Ours, with the whole curve."""
    start, *others = path(case.net, case.end, ALPHAS, case.split, case.protocol)
    return choose(start, others, TOLERANCE)


def decided(case: Case, alphas: Sequence[float]) -> Point:
    """Ours, with what decides."""
    start = Point(0.0, judge(case.net, case.split, case.protocol))
    rule = Rule(start, TOLERANCE, start.clean)
    points, _ = deciding_path(
        case.net, case.end, alphas, case.split, case.protocol, rule, Steps(), ""
    )
    return choose(start, points, TOLERANCE)


def the_same(found: Mapping[str, Point]) -> str:
    """Whether all chose the same point, and saw the same pictures stand there; of more points
    one of no less clean accuracy."""
    first, *others, fine = found.values()
    for other in others:
        if other.alpha != first.alpha:
            raise SystemExit(f"α {first.alpha:g} and {other.alpha:g} were chosen")
        pairs = [(p.verdicts.clean, p.verdicts.robust) for p in (first, other)]
        if different := sum(int((a != b).sum()) for a, b in zip(*pairs, strict=True)):
            raise SystemExit(f"{different} verdicts differ")
    if fine.clean < first.clean:
        raise SystemExit("the point of the fine grid is less accurate")
    n = len(first.verdicts.clean)
    return (
        f"All chose α = {first.alpha:g}, of the fine grid {fine.alpha:g}, with {first.clean} and "
        f"{fine.clean} of {n} pictures right."
    )


def case_of(options: argparse.Namespace, count: int) -> tuple[Case, str]:
    """The case, and what the network is in words."""
    net, split, eps, what = inputs.half_broken(options, 2 * count)
    if options.shared is None:
        draws = torch.Generator().manual_seed(1)
        split = split.take(slice(0, count))
        while inputs.share_broken(net, split, eps) > 0.5:
            eps /= 2
        other = torch.randint(10, (count,), generator=draws).to(split.device)
        changed = torch.rand(count, generator=draws).to(split.device) < 1 / 3
        split = replace(split, labels=torch.where(changed, other, split.labels))
        return Case(net, fitted_head(net, split), split, eps), what
    split, train = parted(split, count, 0, ("choosing", "tuned on"))
    settings = Settings(epochs=4, batch_size=32, schedule="constant", batchnorm="frozen")
    candidate = Candidate(("layer4.1.conv2",), options.lr)
    engine = Engine(torch.device(options.device))
    end = tune(engine, net, candidate, train, None, settings, PGD(Linf(eps)))
    return Case(net, end, split, eps), what


@torch.no_grad()
def fitted_head(net: nn.Module, split: Split, ridge: float = 1e-6) -> dict[str, Tensor]:
    """The last linear map that comes nearest to the labels of these pictures, as long as the
    network's own; hardly held back, so that it is accurate on them and not robust."""
    seen: list[Tensor] = []
    linear = net.get_submodule("linear")
    hook = linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(split.pixels(slice(None)))
    hook.remove()
    wanted = F.one_hot(split.labels, 10).double() - 0.1
    features = seen[0].double()
    inner = features.T @ features + ridge * features.square().sum(1).mean() * torch.eye(
        features.shape[1], dtype=features.dtype, device=features.device
    )
    weight = torch.linalg.solve(inner, features.T @ wanted).T.contiguous()
    own = net.state_dict()["linear.weight"]
    return {"linear.weight": (weight * (own.norm() / weight.norm())).to(own.dtype)}


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--pictures", type=int, default=96)
    made.add_argument("--lr", type=float, default=0.1, help="of the fine-tuning")
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    count = 32 if options.quick else options.pictures
    case, what = case_of(options, count)
    return [
        Subject(
            f"the choice on a path, worst of three PGD-10, {count} pictures, thin_resnet18 {what}",
            [
                Way("usual: 11 points, three whole passes each", partial(usual, case)),
                Way("ours, the full path", partial(full, case)),
                Way("ours, what decides", partial(decided, case, ALPHAS[1:])),
                Way("ours, what decides, of 101 points", partial(decided, case, FINE)),
            ],
            the_same,
        )
    ]


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
