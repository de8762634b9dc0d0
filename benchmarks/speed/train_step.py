"""One step of PGD-10 adversarial training.

    python benchmarks/speed/train_step.py [--batch-size 128] [--model resnet18]

The usual step is that of common scripts: the attack calls `loss.backward()`, in eval mode, with the
gradients of all weights on; then a forward and backward pass in train mode and a step of SGD, all
in fp32 on tensors as they come. Ours is the step of `hardy train`. All take the same pictures and
the same noise from the same weights, without augmentation, and the weights after the step are
compared.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from functools import partial

import attack
import command
import inputs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import Subject, Way

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.evaluation.footprint import operations
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Nets
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, started
from hardy.training.settings import Settings
from hardy.verbs.asked.inputs import placed

LR, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
# How far an update may lie from the usual one, as a share of its length. Rounding turns the sign of
# gradients that are nearly 0, so the pictures differ a little, in bf16 more, and with them the
# update; the gradient of an untrained network in bf16 lies about a quarter from that in fp32 on the
# very same pictures.
NEAR = {"fp32": 0.1, "bf16": 0.5}


class Usual:
    """A training script's step."""

    def __init__(self, net: nn.Module, batch: Batch) -> None:
        self.net, self.batch = net, batch
        self.noise = Linf(attack.EPS).random_start(batch.x, batch.draws) - batch.x
        self.begin()

    def begin(self) -> None:
        self.model = copy.deepcopy(self.net)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY
        )

    def step(self) -> nn.Module:
        x, y = self.batch.x, self.batch.y
        x_adv = attack.usual_attack(self.model, x, y, self.noise)
        self.model.train()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x_adv), y)
        loss.backward()
        self.optimizer.step()
        return self.model


class Ours:
    """The step of our loop."""

    def __init__(self, net: nn.Module, split: Split, precision: str) -> None:
        self.net, self.split, self.precision = net, split, precision
        self.begin()

    def begin(self) -> None:
        self.loop = our_loop(self.net, self.split, self.precision)
        self.batch = next(self.loop.batches(0))

    def step(self) -> nn.Module:
        self.loop.step(self.batch, 0, LR)
        return self.loop.nets.module


def our_loop(net: nn.Module, split: Split, precision: str) -> Loop:
    """Our run before its first step; its batches are the split, all at once."""
    device = split.device
    module = placed(copy.deepcopy(net), device).train()
    settings = Settings(1, len(split), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    engine = Engine(device, precision)
    pgd = PGD(Linf(attack.EPS), attack.STEPS, attack.STEP)
    nets = Nets(module, module, module)
    return started(engine, nets, PGDAT(), pgd, split, None, settings, "")


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--batch-size", type=int, default=128)
    made.add_argument("--model", default="resnet18")
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    name = "thin_resnet18" if options.quick else options.model
    size = 16 if options.quick else options.batch_size
    net, split = inputs.network(name, options.device), inputs.pictures(size, device=options.device)
    ours = {precision: Ours(net, split, precision) for precision in ("fp32", "bf16")}
    # In the order in which our loop shuffles them, for their draws go with them.
    usual = Usual(net, ours["fp32"].batch)
    few = our_loop(net, split.take(slice(0, 4)), "fp32")
    batch = next(few.batches(0))
    counted = operations(lambda: few.step(batch, 0, LR)) / 4 * size
    fast = "ours, bf16 + channels_last"
    return [
        Subject(
            f"PGD-10 training step of {name}, batch {size}",
            [
                Way("usual: the common script", usual.step, usual.begin),
                Way("ours", ours["fp32"].step, ours["fp32"].begin),
                Way(fast, ours["bf16"].step, ours["bf16"].begin, "bf16"),
            ],
            partial(moved_alike, net, {"ours": "fp32", fast: "bf16"}),
            {"ours": counted, fast: counted},
            {} if options.quick else {"ours": 1.45, fast: 2.8},
        )
    ]


def moved_alike(
    net: nn.Module, precisions: Mapping[str, str], found: Mapping[str, nn.Module]
) -> str:
    """Whether the weights have moved to the same place."""
    before = weights(net)
    usual, *_ = (weights(after) - before for after in found.values())
    said = []
    for name, precision in precisions.items():
        far = float((weights(found[name]) - before - usual).norm() / usual.norm())
        if far > NEAR[precision]:
            raise SystemExit(f"the update of {name} lies {100 * far:.1f} % from the usual one")
        said.append(f"{100 * far:.2g} % ({precision})")
    return f"The updates differ from the usual one by {' and '.join(said)} of its length."


def weights(net: nn.Module) -> Tensor:
    """All of them in a line."""
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
