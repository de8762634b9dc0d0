"""What `--compile` gives: one step of PGD-10 adversarial training, ours compiled and not.

    python benchmarks/speed/compiled.py [--batch-size 128] [--model resnet18]

Both are the step of `hardy train`, in fp32 and in bf16, from the same weights on the same pictures,
and the weights after it are compared. Compiling happens before the clock starts; how long it took
is said. It is no part of all.py, for on two cores it takes minutes.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping
from functools import partial

import attack
import command
import inputs
import torch
from torch import Tensor, nn
from train_step import DECAY, LR, MOMENTUM, NEAR, weights
from turns import Subject, Way

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Nets
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, started
from hardy.training.settings import Settings
from hardy.verbs.asked.inputs import placed


class Step:
    """One training step of ours, always from the same weights."""

    def __init__(self, net: nn.Module, split: Split, precision: str, compiled: bool) -> None:
        self.net, self.split, self.precision, self.compiled = net, split, precision, compiled
        self.loop: Loop | None = None
        self.seconds = 0.0  # of the first two steps, in which everything is compiled

    def begin(self) -> None:
        loop = self.loop = self.loop or self._started()
        if not self.seconds:
            began = time.perf_counter()
            for _ in range(2):
                self.run()
            self.seconds = time.perf_counter() - began
        loop.nets.module.load_state_dict(self.net.state_dict())
        loop.optimizer.state.clear()

    def _started(self) -> Loop:
        module = placed(copy.deepcopy(self.net), self.split.device).train()
        settings = Settings(1, len(self.split), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
        engine = Engine(self.split.device, self.precision, compiled=self.compiled)
        pgd = PGD(Linf(attack.EPS), attack.STEPS, attack.STEP)
        nets = Nets(module, module, module)
        loop = started(engine, nets, PGDAT(), pgd, self.split, None, settings, "")
        self.batch = next(loop.batches(0))
        return loop

    def run(self) -> Tensor:
        assert self.loop is not None, "begin has made it"
        self.loop.step(self.batch, 0, LR)
        return weights(self.loop.nets.module)


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--batch-size", type=int, default=128)
    made.add_argument("--model", default="resnet18")
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    name = "thin_resnet18" if options.quick else options.model
    size = 16 if options.quick else options.batch_size
    net, split = inputs.network(name, options.device), inputs.pictures(size, device=options.device)
    return [subject(net, split, precision, f"{name}, batch {size}") for precision in NEAR]


def subject(net: nn.Module, split: Split, precision: str, what: str) -> Subject:
    plain, quick = (Step(net, split, precision, compiled) for compiled in (False, True))
    return Subject(
        f"PGD-10 training step of {what}, {precision}, compiled or not",
        [
            Way("as it is written", plain.run, plain.begin, precision),
            Way("ours, compiled", quick.run, quick.begin, precision),
        ],
        partial(moved_alike, weights(net), NEAR[precision]),
        apart=lambda: f"Compiling, and two steps, took {quick.seconds:.0f} s.",
    )


def moved_alike(before: Tensor, near: float, found: Mapping[str, Tensor]) -> str:
    """Whether the weights have moved to the same place."""
    plain, quick = (after - before for after in found.values())
    far = float(torch.linalg.vector_norm(quick - plain) / torch.linalg.vector_norm(plain))
    if far > near:
        raise SystemExit(f"the compiled update lies {100 * far:.1f} % from that of the plain step")
    return f"The updates differ by {100 * far:.2g} % of their length."


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
