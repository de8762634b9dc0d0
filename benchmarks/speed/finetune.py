"""Fine-tuning one module of ResNet-18 on clean pictures, with BatchNorm's statistics frozen.

    python benchmarks/speed/finetune.py [--module layer4.1.conv2] [--pictures 128] [--epochs 4]

The usual script computes the gradients of all weights and steps one of them. The authors' script
freezes the others first, which already spares most of the backward pass. Ours is what `hardy rift`
does; without augmentation it also keeps the values that enter the part that moves, and trains that
part alone. All see the same pictures in the same order, without augmentation so that all four can
be compared, and the weight they come to is compared.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from hardy.evaluation.footprint import operations
from hardy.finetuning.suffix import weight_of
from hardy.finetuning.tune import Candidate, tune
from hardy.methods.protocol import Nets
from hardy.methods.standard import Standard
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import fit
from hardy.training.settings import Settings
from hardy.verbs.asked.inputs import placed

LR, MOMENTUM, DECAY = 0.01, 0.9, 5e-4
NEAR = 0.01  # of the way that the weight has gone
ATTACK = PGD(Linf(8 / 255))  # of the loop; clean pictures are not attacked


def usual(net: nn.Module, split: Split, settings: Settings, module: str, freeze: bool) -> Tensor:
    """A script: the whole network forward, and backward through all weights or (freeze) down to
    the module."""
    model = copy.deepcopy(net).eval()
    weight = model.get_parameter(f"{module}.weight")
    if freeze:
        model.requires_grad_(False)
        weight.requires_grad_(True)
    optimizer = torch.optim.SGD([weight], lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    for epoch in range(settings.epochs):
        for batch in _order(split, settings, epoch):
            loss = F.cross_entropy(model(batch.x), batch.y)
            model.zero_grad()
            loss.backward()
            optimizer.step()
    return weight.detach()


def _order(split: Split, settings: Settings, epoch: int) -> Iterator[Batch]:
    return batches(split, settings.batch_size, seed=0, epoch=epoch, shuffle=True, drop_last=True)


def ours(engine: Engine, net: nn.Module, split: Split, settings: Settings, module: str) -> Tensor:
    """Ours where pictures are augmented: the whole network in every step."""
    model = copy.deepcopy(net)
    names = Candidate((module,), LR).trainable(model)
    nets = Nets(model, model, model)
    fit(engine, nets, Standard(), ATTACK, split, None, replace(settings, trainable=names))
    return weight_of(model, module).detach()


def kept(engine: Engine, net: nn.Module, split: Split, settings: Settings, module: str) -> Tensor:
    """Ours without augmentation: from kept values."""
    said: list[str] = []
    candidate = Candidate((module,), LR)
    changed = tune(engine, net, candidate, split, None, settings, ATTACK, said.append)
    if not any("kept values" in line for line in said):
        raise SystemExit(f"nothing was kept: {said}")
    return changed[f"{module}.weight"]


def near(origin: Tensor, found: Mapping[str, Tensor]) -> str:
    """Whether all came to the same weight, but for rounding."""
    first, *others = (weight.cpu() for weight in found.values())
    way = float((first - origin).norm())
    worst = max(float((other - first).norm()) for other in others) / way
    if worst > NEAR:
        raise SystemExit(f"the weights differ by {100 * worst:.2g} % of the way they went")
    return f"The weights they come to differ by at most {100 * worst:.2g} % of the way there."


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--module", default="layer4.1.conv2")
    made.add_argument("--pictures", type=int, default=128)
    made.add_argument("--batch-size", type=int, default=64)
    made.add_argument("--epochs", type=int, default=4)
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    name = "thin_resnet18" if options.quick else "resnet18"
    count, module = (32 if options.quick else options.pictures), options.module
    batch_size = min(options.batch_size, count)
    settings = Settings(
        options.epochs,
        batch_size,
        lr=LR,
        weight_decay=DECAY,
        schedule="constant",
        batchnorm="frozen",
    )
    device = torch.device(options.device)
    split = inputs.pictures(count, device=options.device)
    net = inputs.calibrated(inputs.network(name, options.device), split)
    placed_net, engine = placed(copy.deepcopy(net), device), Engine(device)
    given = (engine, placed_net, split, settings, module)
    few = (
        engine,
        placed_net,
        split.take(slice(0, 2)),
        Settings(1, 2, batchnorm="frozen", schedule="constant"),
        module,
    )
    counted = operations(lambda: ours(*few)) / 2 * len(split) * settings.epochs
    return [
        Subject(
            f"fine-tuning {module} of {name}, {count} pictures, {settings.epochs} epochs",
            [
                Way(
                    "usual: gradients of all weights",
                    partial(usual, net, split, settings, module, False),
                ),
                Way("the others frozen", partial(usual, net, split, settings, module, True)),
                Way("ours", partial(ours, *given)),
                Way("ours, from kept values", partial(kept, *given)),
            ],
            partial(near, weight_of(net, module).detach().cpu()),
            operations={"ours": counted},
            goals={} if options.quick else {"ours": 2.5},
        )
    ]


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
