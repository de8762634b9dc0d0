"""What one pass over pictures gives, and the adversarial loss as a function of one weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hardy.losses import cross_entropy
from hardy.memory import Halving, halved, tried

LogitsOf = Callable[[slice | Tensor], Tensor]


@dataclass(frozen=True)
class Sample:
    """What one pass over pictures gave: each one's loss, whether it is classified rightly,
    and the gradients of the mean loss (None for a weight without influence)."""

    losses: Tensor
    correct: Tensor
    gradients: tuple[Tensor | None, ...] = ()

    @property
    def mean(self) -> float:
        """In double precision: an ascent of a hair must not come out as a fall."""
        return float(self.losses.double().mean())

    @property
    def gradient(self) -> Tensor:
        """The gradient of the only weight it was taken to."""
        (gradient,) = self.gradients
        assert gradient is not None, "a module without influence is left out before"
        return gradient


@dataclass(frozen=True)
class WeightLoss:
    """The adversarial loss as a function of one weight, on fixed pictures."""

    name: str
    weight: nn.Parameter
    logits_of: LogitsOf
    y: Tensor
    batch_size: int
    halving: Halving = field(default_factory=Halving)

    def __call__(
        self, value: Tensor, *, gradient: bool = False, rows: Tensor | None = None
    ) -> Sample:
        with torch.no_grad():
            self.weight.copy_(value)
        wanted = [self.weight] if gradient else []
        here = sample_of(self.logits_of, self.y, wanted, self.batch_size, rows, self.halving)
        if not math.isfinite(here.mean):
            raise ValueError(
                f"the loss of {self.name} is {here.mean} inside the ball: its criticality "
                "cannot be measured; try --precision fp32, or leave it out with --modules"
            )
        return here


def sample_of(
    logits_of: LogitsOf,
    y: Tensor,
    weights: Sequence[nn.Parameter],
    batch_size: int,
    rows: Tensor | None = None,
    halving: Halving | None = None,
) -> Sample:
    """Losses, and gradients of their mean to `weights`, of all pictures or of some rows; fewer
    than batch_size at once where memory runs out, which `halving` remembers."""
    halving = halving or Halving()
    count = len(y) if rows is None else len(rows)
    parts: list[tuple[Tensor, Tensor]] = []
    sums: list[Tensor | None] = [None] * len(weights)

    def one(part: slice | Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        with torch.set_grad_enabled(bool(weights)):
            logits = logits_of(part)
            losses = cross_entropy(logits, y[part])
        mean = losses.sum() / count
        grads = torch.autograd.grad(mean, weights, allow_unused=True) if weights else ()
        return losses.detach(), logits.detach().argmax(1) == y[part], grads

    done = 0
    while done < count:
        size = min(count - done, batch_size, halving.most or batch_size)
        here = slice(done, done + size)
        found = tried(lambda here=here: one(here if rows is None else rows[here]))
        if found is None:
            halving.most = halved(size)
            continue
        losses, correct, grads = found[0]
        parts.append((losses, correct))
        sums = [
            g if s is None else s if g is None else s + g for s, g in zip(sums, grads, strict=True)
        ]
        done += size
    losses, correct = (torch.cat(values) for values in zip(*parts, strict=True))
    return Sample(losses, correct, tuple(sums))
