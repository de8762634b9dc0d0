"""What an attacker may do: a norm ball around the picture, inside the pixel box.

    >>> threat = Linf(8 / 255)
    >>> x_adv = threat.project(x + noise, x)

A threat owns the three operations that an iterative attack needs: a random start, the
direction of steepest ascent, and the projection. Radii are in pixels, pictures in [0, 1].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.draws import Draws
from hardy.units import as_fraction


@dataclass(frozen=True, repr=False)
class Threat(ABC):
    """A ball of radius `eps` (pixels) around each picture of a batch (B, C, H, W).

    Raises ValueError where eps is not a positive, finite number.
    """

    eps: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise ValueError(
                f"eps must be a positive radius in pixels (such as 8/255), not {self.eps:g}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(eps={as_fraction(self.eps)})"

    @property
    def norm(self) -> str:
        """Its name on the command line and in settings: 'linf', 'l2'."""
        return type(self).__name__.lower()

    @abstractmethod
    def random_start(self, x: Tensor, draws: Draws) -> Tensor:
        """A point drawn uniformly from the ball around x, clipped to the pixel box."""

    @abstractmethod
    def steepest(self, grad: Tensor) -> Tensor:
        """The unit step of this norm along which a linear function of `grad` grows most."""

    @abstractmethod
    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point to x_adv in the ball around x, then clipped to [0, 1]."""

    @abstractmethod
    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The distance of each picture from its origin in this norm, (B,)."""


class Linf(Threat):
    """Every pixel may move by at most eps."""

    def random_start(self, x: Tensor, draws: Draws) -> Tensor:
        noise = draws.uniform(x.shape[1:], "start", x.dtype).mul(2).sub(1)
        return (x + self.eps * noise).clamp(0, 1)

    def steepest(self, grad: Tensor) -> Tensor:
        return grad.sign()

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return torch.clamp(x_adv, x - self.eps, x + self.eps).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return (x_adv - x).abs().flatten(1).amax(1)


class L2(Threat):
    """The picture, as one vector, may move by at most eps in Euclidean length."""

    def random_start(self, x: Tensor, draws: Draws) -> Tensor:
        direction = unit(draws.normal(x.shape[1:], "start", x.dtype))
        share = draws.uniform((), "start/length", x.dtype) ** (1 / x[0].numel())
        return (x + direction * (self.eps * share).view(-1, 1, 1, 1)).clamp(0, 1)

    def steepest(self, grad: Tensor) -> Tensor:
        return unit(grad)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        delta = x_adv - x
        norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        # A delta inside the ball keeps its bits: the factor is exactly one there.
        return (x + delta * (self.eps / norm.clamp(min=self.eps))).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return (x_adv - x).flatten(1).norm(dim=1)


def unit(vectors: Tensor, p: float = 2) -> Tensor:
    """Each picture of a batch scaled to length one in the p-norm, Euclidean unless said; an
    all-zero one stays zero."""
    column = (-1, *[1] * (vectors.ndim - 1))
    # An overconfident net's gradients are so small that their squares vanish in float32;
    # a power of two brings them near one and keeps every bit of the quotient.
    largest = vectors.detach().flatten(1).abs().amax(1)
    exponent = torch.frexp(largest).exponent.clamp(-126, 126)
    # Not ldexp of the vectors: torch's gradient of it is zero where the exponent is negative.
    vectors = vectors * torch.ldexp(torch.ones_like(largest), -exponent).view(column)
    norm = vectors.flatten(1).norm(p, dim=1).view(column)
    return vectors / torch.where(norm > 0, norm, 1)


def threat_of(norm: str, eps: float) -> Threat:
    """The threat by its name on the command line: 'linf' or 'l2'."""
    kinds = {"linf": Linf, "l2": L2}
    if norm not in kinds:
        raise ValueError(f"norm must be one of {', '.join(kinds)}, not {norm!r}")
    return kinds[norm](eps)
