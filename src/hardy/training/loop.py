"""The only training loop. It knows no paper:

nets = method.prepare(nets)
for epoch in range(epochs):
    for batch in batches(train, seed, epoch):
        for each part of the batch:                     one, unless gradients are accumulated,
                                                        more where memory runs out (see fitted)
            x_adv = method.adversary(nets, part, attack)
        with method.around_step(nets, parts, progress):
            for each part:
                backward(method.loss(nets, part, x_adv, progress))
            optimizer.step()
        average.after_step(nets)                        where the weights are averaged
    on_epoch(method.deployable(nets))                   validates, keeps the best, saves all

The first epochs may have another method, for the head alone, and a smaller radius (see phases).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.console import progress as progress_bar
from hardy.data.augment import Augment
from hardy.data.loader import Batch, batch_count, batches
from hardy.data.splits import Split
from hardy.memory import must_fit
from hardy.methods.protocol import LossOf, Method, Nets
from hardy.modes import freeze_batchnorm, only_trainable
from hardy.training.averaging import Average
from hardy.training.engine import Engine
from hardy.training.fitted import fitted_step, rehearse
from hardy.training.graphed import CudaGraphs, Graphed
from hardy.training.phases import grown, keep_gradients_of
from hardy.training.schedule import factor
from hardy.training.settings import Settings
from hardy.training.watch import EVERY, NotFinite
from hardy.weights import not_finite

State = dict[str, Any]
Row = dict[str, float]
Deployed = Mapping[str, nn.Module]
# After an epoch: its row of the log, the networks, and a function that gives the full state.
# It may return a state to go on from in place of the present one.
OnEpoch = Callable[[Row, Deployed, Callable[[], State]], State | None]


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
) -> Deployed:
    """Train nets.module in place; method.deployable of it as 'live', and, where weights are
    averaged, of their mean as 'average', both in eval mode.

    on_epoch(row, deployed, state): called after each epoch with the logged means (and epoch,
    lr, seconds), what would be returned, and a function that gives the full state, from
    which `resume` continues to the same weights, bit for bit. `state` is a collective call.
    A state with 'stopped' ends the run there; one with 'retries' halves the learning rate
    that often and draws other random numbers.

    Raises ValueError where a term of the loss or a weight is no longer finite, naming the step
    and the term, and where memory does not suffice for parts of one picture.
    """
    run = started(engine, nets, method, attack, train, augment, settings, label)
    with only_trainable(run.nets.module, settings.trainable):
        epoch = run.restore(resume)
        if engine.several and epoch < settings.epochs and not run.stopped:
            rehearse(run, epoch)
        while epoch < settings.epochs and not run.stopped:
            row = run.epoch(epoch)
            back = on_epoch(row, run.deployed(), partial(run.state, epoch + 1))
            epoch = epoch + 1 if back is None else run.restore(back)
    return run.deployed()


def started(
    engine: Engine,
    nets: Nets,
    method: Method,
    attack: PGD,
    train: Split,
    augment: Augment | None,
    settings: Settings,
    label: str,
) -> Loop:
    """A run before its first step."""
    nets = method.prepare(nets)
    average = Average(nets.module, settings.average) if settings.average else None
    with only_trainable(nets.module, settings.trainable):
        optimizer = torch.optim.SGD(
            [p for p in nets.module.parameters() if p.requires_grad],
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        quick = engine.quick(nets.module)
        nets = replace(
            nets,
            student=engine.setup(quick, optimizer),
            forward=_bare_forward(engine, nets.module),
            mean=engine.mean,
        )
    run = Loop(engine, nets, method, attack, train, augment, settings, optimizer, average, label)
    run.attackable = replace(nets, forward=_bare_forward(engine, quick))
    if settings.cuda_graphs:
        run.graphs = Graphed(CudaGraphs(engine.device))
    return run


@dataclass
class Loop:
    """A run. Only `retries`, `stopped` and `accumulate`, the parts of a process's share of a
    batch, change, beside the weights. graphs: of the attacks, where they are captured.
    attackable: the networks as attacks see them, whose forward pass may be compiled; that of `nets`
    is not, for a method may differentiate it to the weights, or twice."""

    engine: Engine
    nets: Nets
    method: Method
    attack: PGD
    train: Split
    augment: Augment | None
    settings: Settings
    optimizer: torch.optim.Optimizer
    average: Average | None
    label: str
    retries: int = 0
    stopped: bool = False
    graphs: Graphed | None = None
    attackable: Nets = field(init=False)
    accumulate: int = field(init=False)

    def __post_init__(self) -> None:
        self.accumulate = self.settings.accumulate

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        settings = self.settings
        return batch_count(self.train, settings.batch_size, drop_last=True, mix=settings.mix)

    def epoch(self, epoch: int) -> Row:
        """One pass over train; the means of what the method's loss gave."""
        settings, module, steps = self.settings, self.nets.module, self.steps
        module.train()
        if settings.keeps_batchnorm(epoch):
            freeze_batchnorm(module)
        sums: dict[str, Tensor] = {}
        watch, lr, began = NotFinite(), settings.lr, time.perf_counter()
        title = f"{self.label}, epoch {epoch + 1}/{settings.epochs}"
        with progress_bar(title, steps * settings.batch_size) as advance:
            for i, batch in enumerate(self.batches(epoch)):
                step = epoch * steps + i
                lr = self.rate(step)
                values = fitted_step(self, batch, step, lr)
                watch.note(step, values)
                for name, value in values.items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
                if i % EVERY == EVERY - 1:
                    self._must_be_finite(watch)
                advance(settings.batch_size)
        self._must_be_finite(watch)
        if not settings.keeps_batchnorm(epoch):  # the mean of equals may differ in its last bit
            self.engine.sync_batchnorm(module)
        if bad := not_finite(module.state_dict()):
            raise ValueError(self._lost(f"{bad[0]} is not finite after epoch {epoch + 1}"))
        if self.average:
            clean = (batch.x for batch in self.batches(epoch))
            self.average.after_epoch(module, (epoch + 1) / settings.epochs, clean)
            self.engine.sync_batchnorm(self.average.module)
        means = self.engine.mean(list(sums.values()))
        seconds = time.perf_counter() - began
        named = {name: float(value) / steps for name, value in zip(sums, means, strict=True)}
        return {"epoch": epoch, "lr": lr, "seconds": seconds, **named}

    @property
    def peak(self) -> float:
        """The learning rate that the schedule scales: each rollback has halved it."""
        return self.settings.lr * 0.5**self.retries

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted over the run."""
        settings = self.settings
        kind, epochs, milestones = settings.schedule, settings.epochs, settings.milestones
        scheduled = factor(kind, step, self.steps, epochs, milestones)
        return self.peak * scheduled

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This process's part of the epoch's batches, by (seed, epoch)."""
        settings = self.settings
        return batches(
            self.train,
            settings.batch_size,
            # Another try must not meet the same starts and crops at which the last one failed.
            seed=settings.seed + 1_000_003 * self.retries,
            epoch=epoch,
            augment=self.augment,
            shuffle=True,
            drop_last=True,
            mix=settings.mix,
            part=(self.engine.rank, self.engine.world),
        )

    def step(self, batch: Batch, step: int, lr: float, *, alone: bool = False) -> dict[str, Tensor]:
        """One optimizer step; the values stay on the device, so nothing waits for it. alone: all
        of it but the optimizer's part, and without a word to other processes."""
        settings, nets = self.settings, self.nets
        if alone:
            nets = replace(nets, mean=list)
        probing = settings.probing_in(step // self.steps)
        method = probing.method if probing else self.method
        attack = grown(self.attack, settings.radius_share(step, self.steps))
        total = self.steps * settings.epochs
        progress = step / total
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        shares: dict[str, Tensor] = {}

        def loss_of(nets: Nets, part: Batch, x_adv: Tensor) -> Tensor:
            found = method.loss(nets, part, x_adv, progress)
            share = len(part) / len(batch)
            shares.update({name: value.detach() * share for name, value in found.items()})
            return found["loss"] * share

        parts: list[LossOf] = []
        for part in _parts(batch, self.accumulate):
            x_adv = self.attacked(method, part, attack)
            parts.append(partial(loss_of, part=part, x_adv=x_adv))
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        with method.around_step(nets, parts, progress):
            for i, part_loss in enumerate(parts):
                shares.clear()
                with self.engine.accumulating(nets.student, alone or i < len(parts) - 1):
                    self.engine.backward(part_loss(nets))
                for name, value in shares.items():
                    values[name] = values.get(name, torch.zeros_like(value)) + value
            if alone:
                return values
            if probing:
                keep_gradients_of(nets.module, probing.head)
            # Smaller parts would not help, and it may have moved some of the weights.
            with must_fit("the optimizer's step", self.engine.device):
                self.optimizer.step()
        if self.average:
            self.average.after_step(nets.module, (step + 1) / total)
        return values

    def attacked(self, method: Method, part: Batch, attack: PGD) -> Tensor:
        """The method's adversarial pictures of a part of a batch."""

        def adversary(part: Batch) -> Tensor:
            with self.engine.attacking(self.nets.module):
                return method.adversary(self.attackable, part, attack)

        # While the radius grows it is another attack in each step.
        if self.graphs is None or attack is not self.attack:
            return adversary(part)
        modes = tuple(module.training for module in self.nets.module.modules())
        return self.graphs(adversary, part, repr(method), id(method), modes)

    def deployed(self) -> dict[str, nn.Module]:
        """The plain networks, in eval mode."""
        found = {"live": self.method.deployable(self.nets).eval()}
        if self.average:
            mean = replace(self.nets, module=self.average.module)
            found["average"] = self.method.deployable(mean).eval()
        return found

    def state(self, epochs_done: int) -> State:
        """All that decides how the run goes on; a collective call."""
        state = {
            "epoch": epochs_done,
            "model": self.nets.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state() if self.average else None,
            "retries": self.retries,
            "stopped": self.stopped,
            "accumulate": self.accumulate,
            "torch_rng": self.engine.gather(torch.get_rng_state()),
        }
        if self.engine.device.type == "cuda":  # where dropout draws when it runs there
            state["cuda_rng"] = self.engine.gather(torch.cuda.get_rng_state(self.engine.device))
        return state

    def restore(self, state: State | None) -> int:
        """Take up a state; the number of epochs it has done."""
        if state is None:
            return 0
        if (were := len(state["torch_rng"])) != self.engine.world:
            raise ValueError(
                f"the run was one of {were} processes, and cannot go on exactly with "
                f"{self.engine.world}: start as many as before"
            )
        self.nets.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.restore(state["average"])
        self.retries, self.stopped = state["retries"], state["stopped"]
        # What has not fitted once is not tried again, not even on the way back.
        self.accumulate = max(self.accumulate, state.get("accumulate", 1))
        rank = self.engine.rank
        torch.set_rng_state(state["torch_rng"][rank].cpu())
        if self.engine.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"][rank].cpu(), self.engine.device)
        return state["epoch"]

    def _must_be_finite(self, watch: NotFinite) -> None:
        if found := watch.found(self.engine.gather):
            step, names = found
            terms = " and ".join(repr(name) for name in names)
            raise ValueError(self._lost(f"{terms} is not finite in step {step + 1}"))

    def _lost(self, what: str) -> str:
        exact = "" if self.engine.precision == "fp32" else ", or use --precision fp32"
        return (
            f"{self.label}: {what}: lower the learning rate (it is {self.peak:g}){exact}; what was "
            "saved after the last epoch is still there"
        )


def _parts(batch: Batch, count: int) -> list[Batch]:
    """The batch in as many parts, as equal as they can be; fewer where it has fewer pictures."""
    count = min(count, len(batch))
    cuts = [len(batch) * i // count for i in range(count + 1)]
    return [batch.take(slice(a, b)) for a, b in itertools.pairwise(cuts)]


def _bare_forward(engine: Engine, module: nn.Module) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        # Through the engine's wrapper, autograd to the input raises under mixed precision.
        with engine.autocast():
            return module(x)

    return forward
