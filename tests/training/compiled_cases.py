"""Runs that may be compiled, in a module of their own: other processes import it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, started

K, B = 3, 6


def net(seed: int = 0) -> nn.Sequential:
    """Smooth, so that rounding does not turn a step of the attack round."""
    torch.manual_seed(seed)
    body = (nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Tanh())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(36, K))


def loop_of(
    engine: Engine, method: Method, student: nn.Module | None = None, accumulate: int = 1
) -> Loop:
    draws = Draws(0, 0, torch.arange(2 * B))
    images = draws.integers(256, (3, 8, 8), "images").to(torch.uint8)
    train = Split(images, draws.integers(K, (), "labels"), draws.index, "train")
    student = net() if student is None else student
    nets = Nets(student, student, student, {"robust": net(1), "natural": net(2)})
    settings = Settings(epochs=2, batch_size=B, lr=0.01, accumulate=accumulate)
    return started(engine, nets, method, PGD(Linf(0.05), 2), train, None, settings, "")


def stepped(loop: Loop) -> dict[str, Tensor]:
    """The state of the network after four steps."""
    for epoch in range(2):
        loop.nets.module.train()
        for i, batch in enumerate(loop.batches(epoch)):
            loop.step(batch, epoch * loop.steps + i, 0.01)
    return {name: value.clone() for name, value in loop.nets.module.state_dict().items()}


def in_one_of_two(accumulate: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As written and compiled, in one process of two."""
    torch.set_num_threads(1)
    found = []
    engine = Engine(torch.device("cpu"), devices=2)
    engine.launch()
    for compiled in (False, True):
        engine.compiled = compiled
        found.append(stepped(loop_of(engine, PGDAT(), accumulate=accumulate)))
    return found[0], found[1]
