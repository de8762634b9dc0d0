"""The only training loop. It knows no paper:

nets = method.prepare(nets)
for epoch in range(epochs):
    for batch in batches(train, seed, epoch):
        x_adv = method.adversary(nets, batch, attack)
        with method.around_step(nets, loss_of, progress):
            backward(loss_of())
            optimizer.step()
    validate(method.deployable(nets));  keep the best;  save everything
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.console import progress as progress_bar
from hardy.data.augment import Augment
from hardy.data.loader import Batch, batch_count, batches
from hardy.data.splits import Split
from hardy.methods.protocol import Method, Nets
from hardy.modes import freeze_batchnorm, only_trainable
from hardy.training.engine import Engine
from hardy.training.schedule import factor


@dataclass(frozen=True)
class Settings:
    """How a run optimises. batchnorm 'frozen' keeps the running statistics as they are and
    uses them; 'train' uses and updates with each batch's own. trainable: the names of the
    parameters that move (None: all that require a gradient)."""

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: str = "multistep"
    milestones: tuple[int, ...] = ()
    seed: int = 0
    batchnorm: str = "train"
    trainable: frozenset[str] | None = None


State = dict[str, Any]
Row = dict[str, float]
OnEpoch = Callable[[Row, nn.Module, Callable[[], State]], None]


def fit(
    engine: Engine,
    nets: Nets,
    method: Method,
    attack: PGD,
    train: Split,
    augment: Augment | None,
    settings: Settings,
    *,
    resume: State | None = None,
    on_epoch: OnEpoch = lambda *_: None,
    label: str = "training",
) -> nn.Module:
    """Train nets.module in place and return method.deployable of it, in eval mode.

    on_epoch(row, model, state): called after each epoch with the logged means (and epoch,
    lr, seconds), the deployable network, and a function that gives the full state, from
    which `resume` continues to the same weights, bit for bit.

    Raises ValueError where the loss is no longer finite, naming epoch and term.
    """
    nets = method.prepare(nets)
    with only_trainable(nets.module, settings.trainable):
        optimizer = torch.optim.SGD(
            [p for p in nets.module.parameters() if p.requires_grad],
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        student = engine.setup(nets.module, optimizer)
        nets = replace(nets, student=student, forward=_bare_forward(engine, nets.module))
        run = _Run(engine, nets, method, attack, train, augment, settings, optimizer, label)
        for epoch in range(run.restore(resume), settings.epochs):
            row = run.epoch(epoch)
            nets.module.eval()
            on_epoch(row, method.deployable(nets), partial(run.state, epoch + 1))
    return method.deployable(nets).eval()


@dataclass(frozen=True)
class _Run:
    """What stays the same from epoch to epoch."""

    engine: Engine
    nets: Nets
    method: Method
    attack: PGD
    train: Split
    augment: Augment | None
    settings: Settings
    optimizer: torch.optim.Optimizer
    label: str

    def epoch(self, epoch: int) -> Row:
        """One pass over train; the means of what the method's loss gave."""
        settings, module = self.settings, self.nets.module
        module.train()
        if settings.batchnorm == "frozen":
            freeze_batchnorm(module)
        steps = batch_count(self.train, settings.batch_size, drop_last=True)
        sums: dict[str, Tensor] = {}
        lr, began = settings.lr, time.perf_counter()
        title = f"{self.label}, epoch {epoch + 1}/{settings.epochs}"
        with progress_bar(title, steps * settings.batch_size) as advance:
            for i, batch in enumerate(self.batches(epoch)):
                step = epoch * steps + i
                lr = settings.lr * factor(
                    settings.schedule, step, steps, settings.epochs, settings.milestones
                )
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                for name, value in self.step(batch, step / (steps * settings.epochs)).items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
                advance(len(batch))
        means = {name: float(value) / steps for name, value in sums.items()}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise ValueError(
                    f"{self.label}: {name!r} is {mean} in epoch {epoch + 1}: lower the learning "
                    f"rate (it is {settings.lr:g}), or use --precision fp32"
                )
        return {"epoch": epoch, "lr": lr, "seconds": time.perf_counter() - began, **means}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The epoch's order and augmentation, by (seed, epoch)."""
        return batches(
            self.train,
            self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
            augment=self.augment,
            shuffle=True,
            drop_last=True,
        )

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """One optimizer step; the values stay on the device, so nothing waits for it."""
        x_adv = self.method.adversary(self.nets, batch, self.attack)
        values: dict[str, Tensor] = {}

        def loss_of() -> Tensor:
            values.update(self.method.loss(self.nets, batch, x_adv, progress))
            return values["loss"]

        self.optimizer.zero_grad(set_to_none=True)
        with self.method.around_step(self.nets, loss_of, progress):
            self.engine.backward(loss_of())
            self.optimizer.step()
        return {name: value.detach() for name, value in values.items()}

    def state(self, epochs_done: int) -> State:
        """All that decides how the run goes on."""
        state = {
            "epoch": epochs_done,
            "model": self.nets.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
        }
        if self.engine.device.type == "cuda":  # where dropout draws when it runs there
            state["cuda_rng"] = torch.cuda.get_rng_state(self.engine.device)
        return state

    def restore(self, state: State | None) -> int:
        """Take up a state; the number of epochs it has done."""
        if state is None:
            return 0
        self.nets.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if self.engine.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.engine.device)
        return state["epoch"]


def _bare_forward(engine: Engine, module: nn.Module) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        # Through the engine's wrapper, autograd to the input raises under mixed precision.
        with engine.autocast():
            return module(x)

    return forward
