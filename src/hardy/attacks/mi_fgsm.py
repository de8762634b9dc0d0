"""MI-FGSM: sign steps along a gradient with momentum, whose examples fool other networks too.

    >>> attack = MIFGSM(Linf(8 / 255))
    >>> x_adv = attack(surrogate, x, y, draws)        # and is then shown to another network

    g = mu g + grad / ||grad||_1,    x_adv = project(x_adv + alpha sign(g)),    from g = 0

In l2 the step is alpha g / ||g||_2. It starts at the picture itself and draws nothing.

Source: Dong et al., Boosting adversarial attacks with momentum (CVPR 2018; arXiv 1710.06081),
algorithm 1 (equations 6 and 7); section 3.3 for l2 and for targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hardy.attacks.pgd import PGD, Loss, Objective
from hardy.attacks.search import Found, found_at
from hardy.draws import Draws
from hardy.losses import cross_entropy
from hardy.modes import Forward
from hardy.threat import Threat, unit
from hardy.units import as_fraction


def with_momentum(mu: float) -> Callable[[Tensor], Tensor]:
    """What gathers the gradients of one ascent, (B, C, H, W) each, in their order: each is scaled
    to l1 length one, and the sum so far decays by mu."""
    gathered: Tensor | None = None

    def along(grad: Tensor) -> Tensor:
        nonlocal gathered
        now = unit(grad, 1)
        gathered = now if gathered is None else mu * gathered + now
        return gathered

    return along


@dataclass(frozen=True, repr=False)
class MIFGSM:
    """The setting of the attack; calling it attacks a batch once. The paper's: 10 steps, momentum
    1, and steps of eps / steps, which together reach the border of the ball.

    step_size: pixels along the norm's steepest direction; None is eps / steps. momentum: mu, the
    decay of what was gathered; 0 is I-FGSM. loss: of logits and labels, one value an example.

    Raises ValueError where steps or step_size is not positive, or momentum is negative.
    """

    threat: Threat
    steps: int = 10
    step_size: float | None = None
    momentum: float = 1.0
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative, as {self.momentum:g} is")
        PGD(self.threat, self.steps, self.step_size)  # refuses what it cannot climb with

    @property
    def _climber(self) -> PGD:
        step = self.threat.eps / self.steps if self.step_size is None else self.step_size
        return PGD(self.threat, self.steps, step, random_start=False, loss=self.loss)

    @property
    def step(self) -> float:
        """The step size in pixels."""
        return self._climber.step

    @property
    def name(self) -> str:
        """What the field calls it."""
        return "MI-FGSM"

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of it."""
        return {**self._climber.setting, "attack": self.name, "momentum": self.momentum}

    def __repr__(self) -> str:
        return (
            f"MI-FGSM-{self.steps}({self.threat!r}, step={as_fraction(self.step)}, "
            f"momentum={self.momentum:g}, {self.loss.__name__})"
        )

    def __call__(
        self,
        forward: Forward,
        x: Tensor,
        y: Tensor,
        draws: Draws,  # noqa: ARG002 — nothing is drawn
    ) -> Tensor:
        """Adversarial examples of x, (B, C, H, W): the last iterate, detached."""
        return self.ascend(lambda x_adv: self.loss(forward(x_adv), y), x)

    def towards(
        self,
        forward: Forward,
        x: Tensor,
        target: Tensor,
        draws: Draws,  # noqa: ARG002 — nothing is drawn
    ) -> Tensor:
        """The same attack with a target: the last iterate of descent on the loss of the classes
        `target`, int64 (B,)."""
        return self.ascend(lambda x_adv: -self.loss(forward(x_adv), target), x)

    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        """Attack a batch once; see `search.Attack`. An example is broken where the last iterate
        is misclassified."""
        return found_at(self(forward, x, y, draws), x, y, judge or forward)

    def ascend(self, objective: Objective, x: Tensor) -> Tensor:
        """The last iterate of ascent with momentum on `objective` (x_adv -> (B,)) from x."""
        return self._climber.ascend(objective, x, x, with_momentum(self.momentum))


Iterative = PGD | MIFGSM
