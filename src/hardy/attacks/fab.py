"""FAB, targeted: along the linearised boundary towards the nearest point of another class.

    >>> attack = FAB(Linf(8 / 255), target=1)               # one of the nine of FAB-T
    >>> found = attack.search(model, x, y, draws)

With f = logit of the target - logit of the label, linear at x_k, and delta(z) the smallest shift
of z onto {f = 0} inside the box (`hyperplane`):

    alpha   = min(|delta(x_k)| / (|delta(x_k)| + |delta(x)|), alpha_max)
    x_{k+1} = (1 - alpha) (x_k + eta delta(x_k)) + alpha (x + eta delta(x))

An x_k on the wrong side, but outside the ball, goes back to x + beta (x_k - x) first.

Source: Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary
attack (ICML 2020), algorithm 1, targeted as in AutoAttack. Three differences. An example is done
as soon as it is broken inside the ball, since no smaller norm is asked for. A wrong point that
may be outside by the overshoot alone, within eta eps, is also looked at projected into the ball;
the search goes on from where it was. And a point that goes back keeps the linearisation made on
the far side of the boundary, which lies nearer to it: one pass forward and one backward a step,
where the published code runs two and one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.attacks.hyperplane import shift_onto
from hardy.attacks.search import Active, Found, gradient, must_be_finite, target_class
from hardy.draws import Draws
from hardy.losses import difference, full
from hardy.modes import Forward
from hardy.threat import Threat

ROUNDING = 1e-6


@dataclass(frozen=True, repr=False)
class FAB:
    """The setting of the attack.

    target: the class to go to, by its rank among the wrong ones on the clean picture (1 is the
    likeliest). steps: passes forward and backward. alpha_max: the largest share of the way
    from the picture itself. eta: overshoot over the hyperplane. beta: what is kept of the way
    when going back.

    Raises ValueError for settings out of range, and when run where there are not so many wrong
    classes or the network's logits are not finite.
    """

    threat: Threat
    target: int = 1
    steps: int = 100
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        if min(self.steps, self.target) < 1:
            raise ValueError(
                f"steps and target must be at least 1, not {self.steps} and {self.target}"
            )
        if not (0 <= self.alpha_max <= 1 and 0 < self.beta <= 1 <= self.eta):
            raise ValueError(
                "alpha_max must be in [0, 1], beta in (0, 1] and eta at least 1, not "
                f"{self.alpha_max:g}, {self.beta:g} and {self.eta:g}"
            )

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of it."""
        return {
            "attack": "FAB-T",
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "steps": self.steps,
            "target": self.target,
            "alpha_max": self.alpha_max,
            "eta": self.eta,
            "beta": self.beta,
        }

    def __repr__(self) -> str:
        return (
            f"FAB-T-{self.steps}({self.threat!r}, target={self.target}, "
            f"alpha_max={self.alpha_max:g}, eta={self.eta:g}, beta={self.beta:g})"
        )

    def search(
        self,
        forward: Forward,
        x: Tensor,
        y: Tensor,
        draws: Draws,  # noqa: ARG002 — without a random start nothing is drawn
        judge: Forward | None = None,
    ) -> Found:
        """Attack a batch once, from the picture itself; see `search.Attack`."""
        active, threat = Active(x, y, judge), self.threat
        x_adv, target = x, None
        for step in range(self.steps + 1):
            distance = threat.distance(x_adv, active.x)
            inside = distance <= threat.eps + ROUNDING
            # What counts is what the network saw, so it sees the point inside the ball.
            x_adv = torch.where(_column(inside, x), threat.project(x_adv, active.x), x_adv)
            x_adv = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                logits = full(forward(x_adv))
                must_be_finite(logits)
                if target is None:
                    target = target_class(logits.detach(), y, self.target)
                f = difference(logits, active.y, target)
            over = logits.argmax(1) != active.y
            near = over & (inside | (distance <= self.eta * threat.eps))
            shown, logits = self._shown(forward, x_adv.detach(), active.x, logits, near & ~inside)
            keep = active.note(shown, logits, near)
            if step == self.steps or not len(active):
                x_adv = x_adv if keep is None else x_adv[keep]
                break
            normal = gradient(f.sum(), x_adv)
            x_adv, f = x_adv.detach(), f.detach()
            if keep is not None:
                x_adv, f, normal, over = x_adv[keep], f[keep], normal[keep], over[keep]
                target = target[keep]
            x_adv = self._step(active.x, x_adv, f, normal, over)
        active.judged_at(threat.project(x_adv.detach(), active.x))
        return active.found

    @torch.no_grad()
    def _shown(
        self, forward: Forward, x_adv: Tensor, x: Tensor, logits: Tensor, near: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The points, those that are `near` projected into the ball, and the logits there."""
        rows, logits = near.nonzero()[:, 0], logits.detach()
        if not len(rows):
            return x_adv, logits
        shown = self.threat.project(x_adv[rows], x[rows])
        seen = full(forward(shown))
        must_be_finite(seen)
        return x_adv.index_copy(0, rows, shown), logits.index_copy(0, rows, seen)

    def _step(self, x: Tensor, x_adv: Tensor, f: Tensor, normal: Tensor, over: Tensor) -> Tensor:
        """x_{k+1} of x_k, where f is linear; over: those that go back first."""
        start = torch.where(_column(over, x), x + self.beta * (x_adv - x), x_adv)
        points = torch.stack([start, x])
        excess = f + (normal * (points - x_adv)).flatten(2).sum(2)
        delta = shift_onto(self.threat, points, normal, excess)
        length = self.threat.distance(delta.flatten(0, 1), torch.zeros_like(delta).flatten(0, 1))
        here, there = length.clamp(min=1e-8).view(2, -1)
        alpha = _column((here / (here + there)).clamp(max=self.alpha_max), x)
        near, far = points + self.eta * delta
        return ((1 - alpha) * near + alpha * far).clamp(0, 1)


def _column(values: Tensor, x: Tensor) -> Tensor:
    """One value an example, (B,), against pictures."""
    return values.view(-1, *[1] * (x.ndim - 1))
