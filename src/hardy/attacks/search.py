"""What every attack is to those who run it: a search for adversarial examples of a batch.

An attack's `search(forward, x, y, draws, judge)` returns `Found`. Attacks that may stop at the
first success keep an `Active`: the examples that still stand, and what broke the others.

    >>> active = Active(x, y, judge)
    >>> while ...:
    ...     logits = forward(x_adv)
    ...     keep = active.note(x_adv, logits)     # rows to go on with, None where all stand
    ...     if keep is not None:
    ...         x_adv, ... = x_adv[keep], ...     # the attack's own state; active has cut its own
    >>> return active.found
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hardy.draws import Draws
from hardy.modes import Forward
from hardy.threat import Threat


@dataclass(frozen=True)
class Found:
    """What a search found: x_adv (B, C, H, W), the picture itself where nothing was found, and
    which examples are broken, bool (B,)."""

    x_adv: Tensor
    broken: Tensor


class Attack(Protocol):
    """An attack with all its settings; `repr` prints every one of them."""

    @property
    def threat(self) -> Threat: ...

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of the attack: its name as `attack`, norm, eps, …"""
        ...

    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        """Attack a batch once. x: (B, C, H, W) pixels, rightly classified; y: int64 (B,).

        forward: what the attack differentiates or queries; judge: what decides whether an
        example is broken (None: the same; the full-precision network where the search runs
        in half precision).
        """
        ...


class Active:
    """The examples of a batch under attack that still stand.

    x, y: of those alone; rows: int64, their places in the batch.
    """

    def __init__(self, x: Tensor, y: Tensor, judge: Forward | None = None) -> None:
        self.x, self.y, self.judge = x, y, judge
        self.rows = torch.arange(len(y), device=y.device)
        self._x_adv = x.clone()
        self._broken = torch.zeros_like(y, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def found(self) -> Found:
        """What broke so far, of the whole batch."""
        return Found(self._x_adv, self._broken)

    @torch.no_grad()
    def note(self, x_adv: Tensor, logits: Tensor, allowed: Tensor | None = None) -> Tensor | None:
        """Take those out that are misclassified at x_adv, if the judge agrees.

        x_adv, logits: of those that stand. allowed: bool, which of the points count at all
        (None: each; an attack that may leave the ball says here which points lie in it).
        Returns the rows, among those that stood, of those that still stand; None where all do.
        Raises ValueError where what looks misclassified is NaN.
        """
        wrong = logits.argmax(1) != self.y
        if allowed is not None:
            wrong &= allowed
        if not wrong.any():
            return None
        must_be_finite(logits[wrong])  # NaN is the largest of logits, and of no class
        if self.judge is not None:
            seen = wrong.nonzero()[:, 0]
            logits = self.judge(x_adv[seen])
            must_be_finite(logits)
            wrong[seen] = logits.argmax(1) != self.y[seen]
            if not wrong.any():
                return None
        gone = self.rows[wrong]
        self._x_adv[gone] = x_adv[wrong]
        self._broken[gone] = True
        keep = (~wrong).nonzero()[:, 0]
        self.x, self.y, self.rows = self.x[keep], self.y[keep], self.rows[keep]
        return keep

    def judged_at(self, x_adv: Tensor) -> None:
        """Take those out that the judge finds misclassified at x_adv: at the end of a search
        in half precision, which may have overlooked what it stood on. Without a judge the
        search has seen all itself, and nothing happens."""
        if self.judge is not None and len(self):
            with torch.no_grad():
                self.note(x_adv, self.judge(x_adv))


@torch.no_grad()
def found_at(x_adv: Tensor, x: Tensor, y: Tensor, judge: Forward) -> Found:
    """What an attack has found whose last iterate is x_adv: those that the judge finds
    misclassified there. Raises ValueError where it gives NaN or infinity."""
    logits = judge(x_adv)
    must_be_finite(logits)
    broken = logits.argmax(1) != y
    return Found(torch.where(broken.view(-1, *[1] * (x.ndim - 1)), x_adv, x), broken)


def target_class(logits: Tensor, y: Tensor, rank: int) -> Tensor:
    """The wrong class of that rank by its logit, int64 (B,): 1 is the likeliest wrong one.

    Raises ValueError where there are not so many wrong classes.
    """
    if not 1 <= rank < logits.shape[1]:
        raise ValueError(
            f"there is no wrong class of rank {rank}: with {logits.shape[1]} classes give 1 to "
            f"{logits.shape[1] - 1}"
        )
    wrong = logits.scatter(1, y[:, None], float("-inf"))
    return wrong.topk(rank, 1).indices[:, -1]


def gradient(value: Tensor, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """The gradient of a value to the pictures alone: parameters keep theirs, and cost nothing.
    create_graph: so that it can be differentiated itself.

    Raises ValueError where the value does not depend on them differentiably.
    """
    grad = None
    if value.requires_grad:
        (grad,) = torch.autograd.grad(value, x, allow_unused=True, create_graph=create_graph)
    if grad is None:
        raise ValueError(
            "the network has no gradient to its input, so no attack can follow it: measure it "
            "with --attack square --curve-pictures 0"
        )
    return grad


def must_be_finite(values: Tensor) -> None:
    """Raises ValueError where a network gives NaN or infinity: no attack can follow that, and
    NaN must not look robust."""
    if not values.isfinite().all():
        raise ValueError(
            "the network gives NaN or infinite logits: its robustness cannot be measured; try "
            "--precision fp32, or look at its weights"
        )
