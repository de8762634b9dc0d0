"""PGD-10 on a batch, and robust accuracy as the worst of three restarts of it.

    python benchmarks/speed/attack.py [--images 64] [--pictures 256] [--shared FOLDER]

A batch: the usual attack calls `loss.backward()` on a leaf of pictures, so that every step also
computes the gradients of all weights, which nobody reads. Ours takes the gradient to the pictures
alone. All start from the same noise.

The worst of three: the usual evaluation makes three whole passes over the pictures and counts
those that withstood all three. It takes gradients as ours does, so that the ratio shows only what
is gained by attacking no broken or wrong picture again. The verdicts are the same, picture by
picture.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from functools import partial

import command
import inputs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import Subject, Way

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.footprint import operations
from hardy.evaluation.robustness import Protocol, judge
from hardy.modes import evaluating, forward_in
from hardy.threat import Linf
from hardy.verbs.asked.inputs import placed

# On an untrained network a usual radius only amplifies how a way rounds, and what a pass takes does
# not hang on the radius.
EPS, STEPS, STEP = 1 / 255, 10, 0.25 / 255


def usual_attack(net: nn.Module, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """PGD as scripts have it."""
    net.eval()
    x_adv = (x + noise).clamp(0, 1).detach()
    for _ in range(STEPS):
        x_adv.requires_grad_()
        loss = F.cross_entropy(net(x_adv), y)
        net.zero_grad()
        loss.backward()
        assert x_adv.grad is not None
        x_adv = x_adv.detach() + STEP * x_adv.grad.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
    return x_adv


def our_attack(net: nn.Module, batch: Batch, precision: str) -> Tensor:
    """Ours."""
    with evaluating(net):
        attack = PGD(Linf(EPS), STEPS, STEP)
        return attack(forward_in(net, batch.x.device, precision), batch.x, batch.y, batch.draws)


def usual_evaluation(net: nn.Module, split: Split, eps: float, size: int) -> Tensor:
    """Which pictures withstand three restarts, each of them on all."""
    net.eval().requires_grad_(False)
    threat, step = Linf(eps), 2.5 * eps / STEPS
    withstood = []
    for restart in range(3):
        for batch in batches(split, size, seed=0):
            x, y = batch.x, batch.y
            draws = Draws(0, 0, batch.index, restart)
            x_adv = threat.random_start(x, draws)
            for _ in range(STEPS):
                x_adv.requires_grad_()
                (grad,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y), x_adv)
                x_adv = x_adv.detach() + step * grad.sign()
                x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
            with torch.no_grad():
                withstood.append((net(x).argmax(1) == y) & (net(x_adv).argmax(1) == y))
    return torch.cat(withstood).view(3, -1).all(0)


def our_evaluation(net: nn.Module, split: Split, eps: float, size: int) -> Tensor:
    """Ours."""
    return judge(net, split, Protocol(PGD(Linf(eps), STEPS), 3, batch_size=size)).robust


def as_strong(net: nn.Module, batch: Batch, found: Mapping[str, Tensor]) -> str:
    """Whether all attacks raise the loss as far. Rounding turns the sign of gradients that are
    nearly 0, more of them in bf16, so the pictures need not be equal to the bit."""
    with torch.no_grad(), evaluating(net):
        loss = {name: float(F.cross_entropy(net(x_adv), batch.y)) for name, x_adv in found.items()}
        clean = float(F.cross_entropy(net(batch.x), batch.y))
    usual, *others = loss.values()
    worst = max(abs(other - usual) for other in others) / (usual - clean)
    if worst > 0.02:
        raise SystemExit(f"one attack raises the loss {100 * worst:.1f} % more than another")
    far = max(float((x_adv - batch.x).abs().max()) for x_adv in found.values())
    if far > EPS + 1e-6:
        raise SystemExit(f"a picture was moved by {far:.4f}")
    return f"The loss they reach differs by at most {100 * worst:.2g} % of its rise."


def the_same(found: Mapping[str, Tensor]) -> str:
    """Whether every picture has the same verdict."""
    one, other = (verdicts.cpu() for verdicts in found.values())
    if different := int((one != other).sum()):
        raise SystemExit(f"{different} of {len(one)} verdicts differ")
    return f"The same {int(one.sum())} of {len(one)} pictures stand after both."


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--images", type=int, default=64, help="in the batch")
    made.add_argument("--pictures", type=int, default=256, help="of the worst of three")
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    name = "thin_resnet18" if options.quick else "resnet18"
    images, count = (16, 64) if options.quick else (options.images, options.pictures)
    device = torch.device(options.device)
    net = inputs.network(name, options.device)
    ours = placed(copy.deepcopy(net), device)
    batch = next(batches(inputs.pictures(images, device=options.device), images, seed=0))
    noise = Linf(EPS).random_start(batch.x, batch.draws) - batch.x
    counted = operations(lambda: our_attack(ours, batch.take(slice(0, 2)), "fp32")) / 2 * images
    pgd = Subject(
        f"PGD-10 of {name}, {images} pictures",
        [
            Way(
                "usual: backward through all weights",
                partial(usual_attack, net, batch.x, batch.y, noise),
            ),
            Way("ours", partial(our_attack, ours, batch, "fp32")),
            Way(
                "ours, bf16 + channels_last",
                partial(our_attack, ours, batch, "bf16"),
                precision="bf16",
            ),
        ],
        partial(as_strong, net, batch),
        {"ours": counted, "ours, bf16 + channels_last": counted},
    )
    robust, split, eps, what = inputs.half_broken(options, count)
    worst = Subject(
        f"worst of three PGD-10, {count} pictures, thin_resnet18 {what}",
        [
            Way("usual: three whole passes", partial(usual_evaluation, robust, split, eps, 64)),
            Way("ours", partial(our_evaluation, robust, split, eps, 64)),
        ],
        the_same,
        goals={} if options.quick else {"ours": 1.4},
    )
    return [pgd, worst]


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
