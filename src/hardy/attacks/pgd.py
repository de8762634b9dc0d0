"""Projected gradient ascent inside a norm ball: FGSM, PGD and every inner maximiser.

    >>> attack = PGD(Linf(8 / 255), steps=10)
    >>> x_adv = attack(model, x, y, draws)                      # PGD-10 on cross-entropy
    >>> fgsm = PGD(Linf(8 / 255), steps=1, step_size=8 / 255, random_start=False)
    >>> x_adv = attack.ascend(lambda z: kl_divergence(model(x), model(z)), x, start)

The model is a bare callable from pixels (B, C, H, W) to logits (B, K), in whatever mode
the caller put it. Nothing here touches modes, parameters or their gradients, and nothing
synchronises a device, so the same lines run on one CPU and on many GPUs.

Source: Madry et al., Towards deep learning models resistant to adversarial attacks (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.attacks.search import Found, found_at, gradient
from hardy.draws import Draws
from hardy.losses import cross_entropy, margin
from hardy.modes import Forward
from hardy.threat import Threat
from hardy.units import as_fraction

Objective = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def beside(x: Tensor, draws: Draws, deviation: float) -> Tensor:
    """A start for `PGD.ascend` a little beside the pictures: normal noise of that standard
    deviation, in pixels, is added; the first step projects."""
    return x + deviation * draws.normal(x.shape[1:], "start", x.dtype)


@dataclass(frozen=True, repr=False)
class PGD:
    """The setting of an attack; calling it attacks a batch once (one restart).

    steps: gradient steps. step_size: pixels along the norm's steepest direction; None is
    2.5 * eps / steps, which is 2/255 for ten steps at 8/255. random_start: from a point
    drawn uniformly from the ball, otherwise from the picture itself. loss: of logits and
    labels, one value an example, to be ascended.

    Raises ValueError where steps or step_size is not positive.
    """

    threat: Threat
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size must be positive (in pixels), not {self.step_size:g}")

    @property
    def step(self) -> float:
        """The step size in pixels."""
        return 2.5 * self.threat.eps / self.steps if self.step_size is None else self.step_size

    @property
    def name(self) -> str:
        """What the field calls it: FGSM is a step without a random start, CW-PGD ascends the
        margin of Carlini and Wagner."""
        if self.steps == 1 and not self.random_start:
            return "FGSM"
        return "CW-PGD" if self.loss is margin else "PGD"

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of it."""
        return {
            "attack": self.name,
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "steps": self.steps,
            "step_size": self.step,
        }

    def __repr__(self) -> str:
        start = "random start" if self.random_start else "no random start"
        return (
            f"PGD-{self.steps}({self.threat!r}, step={as_fraction(self.step)}, {start}, "
            f"{self.loss.__name__})"
        )

    def __call__(self, forward: Forward, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        """Adversarial examples of x, (B, C, H, W): the last iterate, detached."""
        return self.ascend(lambda x_adv: self.loss(forward(x_adv), y), x, self._start(x, draws))

    def towards(self, forward: Forward, x: Tensor, target: Tensor, draws: Draws) -> Tensor:
        """The same attack with a target: the last iterate of descent on the loss of the classes
        `target`, int64 (B,)."""

        def objective(x_adv: Tensor) -> Tensor:
            return -self.loss(forward(x_adv), target)

        return self.ascend(objective, x, self._start(x, draws))

    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        """Attack a batch once; see `search.Attack`. An example is broken where the last iterate
        is misclassified."""
        return found_at(self(forward, x, y, draws), x, y, judge or forward)

    def ascend(
        self,
        objective: Objective,
        x: Tensor,
        start: Tensor,
        along: Callable[[Tensor], Tensor] = lambda grad: grad,
    ) -> Tensor:
        """The last iterate of projected ascent on `objective` (x_adv -> (B,)) from `start`.

        along: what a step follows in the place of the gradient that it is given, once a step
        and in their order; momentum is one.
        """
        x_adv = start
        for _ in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            grad = gradient(objective(x_adv).sum(), x_adv)
            with torch.no_grad():
                step = self.step * self.threat.steepest(along(grad))
                x_adv = self.threat.project(x_adv + step, x)
        return x_adv.detach()

    def _start(self, x: Tensor, draws: Draws) -> Tensor:
        return self.threat.random_start(x, draws) if self.random_start else x
