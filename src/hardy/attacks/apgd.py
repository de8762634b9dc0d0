"""Auto-PGD: projected ascent with momentum that halves its own step size.

    >>> attack = APGD(Linf(8 / 255))                            # APGD-CE
    >>> attack = APGD(Linf(8 / 255), loss="dlr-t", target=3)    # one of the nine of APGD-T
    >>> found = attack.search(model, x, y, draws)

    z       = project(x_k + eta steepest(grad f(x_k)))
    x_{k+1} = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))

At checkpoints an example whose loss rose in no more than rho of the steps since the last one,
or whose best loss has not moved although its step was kept, goes back to its best point with
half the step. The first step is 2 eps long, the checkpoints lie at shares .22, .41, .57, … of
the steps.

Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks (ICML 2020), algorithm 1. An example is done as soon as it is
broken: later steps would not make it more so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hardy.attacks.search import Active, Found, gradient, must_be_finite, target_class
from hardy.draws import Draws
from hardy.losses import cross_entropy, dlr, dlr_towards
from hardy.modes import Forward
from hardy.threat import Threat

MOMENTUM = 0.75
FEWEST_CLASSES = {"ce": 2, "ce-t": 2, "dlr": 3, "dlr-t": 4}


@dataclass(frozen=True, repr=False)
class APGD:
    """The setting of the attack.

    loss: 'ce' or 'dlr', or towards a class 'ce-t' or 'dlr-t'; target: that class, by its rank
    among the wrong ones on the clean picture. rho: the share of rising steps that keeps the
    step size. eot: forward passes over which a gradient is averaged, for networks that draw
    random numbers; an example is then broken where the mean of as many passes says so.

    Raises ValueError for settings out of range, and when run where the loss needs more classes.
    """

    threat: Threat
    steps: int = 100
    loss: Literal["ce", "ce-t", "dlr", "dlr-t"] = "ce"
    target: int = 1
    rho: float = 0.75
    eot: int = 1

    def __post_init__(self) -> None:
        if self.loss not in FEWEST_CLASSES:
            raise ValueError(f"loss must be one of {', '.join(FEWEST_CLASSES)}, not {self.loss!r}")
        if min(self.steps, self.eot, self.target) < 1:
            raise ValueError("steps, eot and target must be at least 1")

    def __repr__(self) -> str:
        towards = f" {self.target}" if self.targeted else ""
        eot = f", eot={self.eot}" if self.eot > 1 else ""
        return f"APGD-{self.steps}({self.threat!r}, {self.loss}{towards}, rho={self.rho:g}{eot})"

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of it."""
        return {
            "attack": "APGD-T" if self.targeted else f"APGD-{self.loss.upper()}",
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "steps": self.steps,
            "rho": self.rho,
            "eot": self.eot,
        }

    @property
    def targeted(self) -> bool:
        """Whether the loss leads towards one class."""
        return self.loss.endswith("-t")

    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        """Attack a batch once, from a random start; see `search.Attack`."""
        if self.eot > 1:  # of a hundred single looks one may say another class by luck
            judge = _averaged(judge or forward, self.eot)
        active = Active(x, y, judge)
        with torch.no_grad():
            logits = forward(x)
        must_be_finite(logits)
        if logits.shape[1] < FEWEST_CLASSES[self.loss]:
            raise ValueError(
                f"the loss {self.loss!r} needs {FEWEST_CLASSES[self.loss]} classes, not "
                f"{logits.shape[1]}: take 'ce'"
            )
        target = target_class(logits, y, self.target) if self.targeted else y
        x_adv = self.threat.random_start(x, draws)
        logits, f, grad = self._gradient(forward, x_adv, y, target)
        state = State(x_adv, x_adv, grad, f, target, self.threat.eps)
        state.keep(active.note(x_adv, logits))

        checkpoint, period = self._periods(0)
        for k in range(self.steps):
            if not len(active):
                return active.found
            x_adv = self._step(state, active.x, 1.0 if k == 0 else MOMENTUM)
            logits, f, grad = self._gradient(forward, x_adv, active.y, state.target)
            state.moved(x_adv, f, grad)
            state.keep(active.note(x_adv, logits))
            if k + 1 == checkpoint:
                state.check(self.rho * period)
                checkpoint, period = self._periods(checkpoint, period)
        must_be_finite(state.f)
        active.judged_at(state.x_best)
        return active.found

    def _periods(self, checkpoint: int, period: int | None = None) -> tuple[int, int]:
        """The next checkpoint and how many steps lie before it: .22 of all at first, then .03
        fewer each time, but no fewer than .06."""
        share = [max(int(part * self.steps), 1) for part in (0.22, 0.03, 0.06)]
        following = share[0] if period is None else max(period - share[1], share[2])
        return checkpoint + following, following

    def _step(self, state: State, x: Tensor, momentum: float) -> Tensor:
        here, threat = state.x_adv, self.threat
        z = threat.project(here + state.step * threat.steepest(state.grad), x)
        moved = here + momentum * (z - here) + (1 - momentum) * (here - state.x_old)
        return threat.project(moved, x)

    def _objective(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        match self.loss:
            case "ce":
                return cross_entropy(logits, y)
            case "ce-t":
                return -cross_entropy(logits, target)
            case "dlr":
                return dlr(logits, y)
            case "dlr-t":
                return dlr_towards(logits, y, target)

    def _gradient(
        self, forward: Forward, x_adv: Tensor, y: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, losses (B,) and the losses' gradients at x_adv; the mean gradient and loss
        over `eot` passes, and the last one's logits."""
        x_adv = x_adv.detach().requires_grad_()
        total, sum_of_losses = torch.zeros_like(x_adv), torch.zeros(len(y), device=y.device)
        logits = sum_of_losses
        for _ in range(self.eot):
            with torch.enable_grad():
                logits = forward(x_adv)
                f = self._objective(logits, y, target)
                grad = gradient(f.sum(), x_adv)
            if self.eot == 1:
                return logits.detach(), f.detach(), grad
            total, sum_of_losses = total + grad, sum_of_losses + f.detach()
        return logits.detach(), sum_of_losses / self.eot, total / self.eot


def _averaged(forward: Forward, passes: int) -> Forward:
    """The mean logits of several passes."""
    return lambda x: torch.stack([forward(x) for _ in range(passes)]).mean(0)


class State:
    """Where the examples that stand are, and the best that they have seen."""

    def __init__(
        self, x_adv: Tensor, x_old: Tensor, grad: Tensor, f: Tensor, target: Tensor, eps: float
    ) -> None:
        self.x_adv, self.x_old, self.grad, self.f, self.target = x_adv, x_old, grad, f, target
        self.x_best, self.grad_best, self.best = x_adv, grad, f
        self.step = torch.full_like(f, 2 * eps).view(-1, *[1] * (x_adv.ndim - 1))
        self.rises = torch.zeros_like(f)
        self.best_at_check = f
        self.halved = torch.ones_like(f, dtype=torch.bool)  # the first check has no step to judge

    def keep(self, rows: Tensor | None) -> None:
        """Go on with these rows only; None: with all."""
        if rows is not None:
            for name, value in vars(self).items():
                setattr(self, name, value[rows])

    def moved(self, x_adv: Tensor, f: Tensor, grad: Tensor) -> None:
        """Take a new point in, with its loss and gradient."""
        self.rises = self.rises + (f > self.f)
        better = f > self.best
        column = better.view(self.step.shape)
        self.x_best = torch.where(column, x_adv, self.x_best)
        self.grad_best = torch.where(column, grad, self.grad_best)
        self.best = torch.where(better, f, self.best)
        self.x_old, self.x_adv, self.f, self.grad = self.x_adv, x_adv, f, grad

    def check(self, enough: float) -> None:
        """Halve the step of those that do not get on, and put them back at their best point."""
        stuck = ~self.halved & (self.best_at_check >= self.best)
        self.halved = (self.rises <= enough) | stuck
        column = self.halved.view(self.step.shape)
        self.step = torch.where(column, self.step / 2, self.step)
        self.x_adv = torch.where(column, self.x_best, self.x_adv)
        self.grad = torch.where(column, self.grad_best, self.grad)
        self.best_at_check = self.best
        self.rises = torch.zeros_like(self.rises)
