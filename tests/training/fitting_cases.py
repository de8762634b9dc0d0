"""Networks and runs that are short of memory: in a module of its own, for processes import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.wrappers.awp import AWP
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, fit, started

CPU = torch.device("cpu")
K, N = 3, 24


@dataclass(frozen=True)
class Event:
    """A pass through the network, with so many pictures."""

    kind: str
    pictures: int


class Scarce(nn.Module):
    """The identity, on a device whose memory runs out: with more pictures than `most` in passes
    of the kind `where`, or just once, at the pass of that number."""

    def __init__(self) -> None:
        super().__init__()
        self.most: int | None = None
        self.where, self.fails_at, self.refused = "forward", -1, 0
        self.seen: list[Event] = []

    def forward(self, x: Tensor) -> Tensor:
        self.note("forward", x)
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(lambda grad: self.note("backward", grad))
        return x

    def note(self, kind: str, x: Tensor) -> None:
        self.seen.append(Event(kind, len(x)))
        too_many = self.most is not None and kind == self.where and len(x) > self.most
        if too_many or len(self.seen) - 1 == self.fails_at:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        Scarce(),
        nn.Sequential(nn.ReLU(), nn.Flatten()),
        nn.Dropout(0.3),
        nn.Linear(16, K),
    )


def split() -> Split:
    draws = Draws(0, 0, torch.arange(N))
    images = draws.integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, draws.integers(K, (), "labels"), torch.arange(N), "train")


def settings(**more: Any) -> Settings:
    return Settings(**{"epochs": 2, "batch_size": 6, "lr": 0.05, **more})


def loop_of(method: Method, **more: Any) -> Loop:
    module = net()
    nets, attack = Nets(module, module, module), PGD(Linf(0.05), steps=2)
    given = settings(**more)
    return started(Engine(CPU), nets, method, attack, split(), None, given, "a run")


def scarce_of(module: nn.Module) -> Scarce:
    """The module of a network that memory runs out in."""
    (found,) = (each for each in module.modules() if isinstance(each, Scarce))
    return found


def narrow(loop: Loop, most: int | None, where: str = "forward") -> None:
    """Leave a run room for so many pictures."""
    scarce = scarce_of(loop.nets.module)
    scarce.most, scarce.where = most, where


def together(world: int) -> dict[str, Any]:
    """In one of two processes, of which the second is short of memory."""
    torch.set_num_threads(1)
    engine = Engine(CPU, devices=world)
    engine.launch()
    mine = engine.rank == 1

    def run(most: int | None, fails_at: int = -1, accumulate: int = 1) -> tuple[Any, int]:
        module, states = net(), []
        scarce = scarce_of(module)
        scarce.most, scarce.fails_at = most, fails_at
        torch.manual_seed(5 + engine.rank)
        fit(
            engine,
            Nets(module, module, module),
            AWP(PGDAT(), gamma=0.05),
            PGD(Linf(0.05), steps=2),
            split(),
            None,
            settings(accumulate=accumulate),
            on_epoch=lambda row, deployed, state: states.append(state()),
            label="a run",
        )
        return states[-1]["model"], states[-1]["accumulate"]

    asked, _ = run(None, accumulate=2)
    found, accumulate = run(2 if mine else None)
    weights = {name: engine.gather(value) for name, value in found.items()}
    parts = [int(each) for each in engine.gather(torch.tensor(accumulate))]

    hopeless = ""
    try:
        run(0 if mine else None)
    except ValueError as error:
        hopeless = str(error)
    said = [None] * world
    torch.distributed.all_gather_object(said, hopeless)
    return {
        "accumulate": parts,
        "asked": asked,
        "found": {name: value[0] for name, value in weights.items()},
        "other": {name: value[1] for name, value in weights.items()},
        "hopeless": said,
    }


def failing_later(world: int, at: int) -> None:
    """The second of two processes is short of memory at a pass after its rehearsal."""
    torch.set_num_threads(1)
    engine = Engine(CPU, devices=world)
    engine.launch()
    module = net()
    scarce_of(module).fails_at = at if engine.rank == 1 else -1
    nets, attack = Nets(module, module, module), PGD(Linf(0.05), steps=2)
    fit(engine, nets, PGDAT(), attack, split(), None, settings(), label="a run")
