"""AWP around any method: Wu et al., Adversarial weight perturbation helps robust
generalization, NeurIPS 2020 (arXiv 2004.05884), algorithm 1 with one step for v.

    min over theta of max over v of L(theta + v),  ||v_l|| <= gamma * ||theta_l|| for each layer l

One ascent step finds v: v_l = gamma * ||theta_l|| * g_l / ||g_l||, g the gradient of the
method's loss at theta. As in the authors' code the backward pass and the optimizer step happen
at theta + v, and v is taken off after them; every convolution and linear map is a layer, biases
and normalisations are left alone, and the statistics that the extra pass would have taught
BatchNorm are thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardy.methods.protocol import LossOf, Nets, Wrapper
from hardy.modes import kept_batchnorm
from hardy.threat import unit


@dataclass(frozen=True)
class AWP(Wrapper):
    """base: the method that is wrapped. gamma: the radius relative to a layer's norm (0.01 for
    PGD-AT and 0.005 for TRADES in the paper). warmup: the fraction of training before it
    begins (the authors' TRADES: 10 of 200 epochs).

    Raises ValueError where gamma is not positive, and in training where no layer is trained."""

    gamma: float = 0.005
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"AWP's gamma must be positive, such as 0.005, not {self.gamma:g}")

    @contextmanager
    def around_step(self, nets: Nets, parts: Sequence[LossOf], progress: float) -> Iterator[None]:
        with self.base.around_step(nets, parts, progress):
            if progress < self.warmup:
                yield
                return
            weights = _layers(nets.module)
            moves = self._moves(nets, parts, weights)
            before = [weight.detach().clone() for weight in weights]
            _add(weights, moves, 1)
            try:
                yield
            except BaseException:
                for weight, value in zip(weights, before, strict=True):
                    weight.data.copy_(value)  # theta + v - v would only be near it
                raise
            _add(weights, moves, -1)

    def _moves(self, nets: Nets, parts: Sequence[LossOf], weights: list[Tensor]) -> list[Tensor]:
        """v of each layer, the same in every process of the run."""
        # Gradients are taken by hand, so the pass must go around the engine's wrapper.
        bare = replace(nets, student=nets.forward)
        grads = [torch.zeros_like(weight) for weight in weights]
        with kept_batchnorm(nets.module):
            for part in parts:
                found = torch.autograd.grad(part(bare), weights, allow_unused=True)
                for total, grad in zip(grads, found, strict=True):
                    if grad is not None:
                        total += grad
        return [
            # Not grad / (norm + 1e-20): the squares of a confident net's gradients vanish.
            self.gamma * weight.detach().norm() * unit(grad[None])[0]
            for weight, grad in zip(weights, nets.mean(grads), strict=True)
        ]


def _layers(module: nn.Module) -> list[Tensor]:
    """The weights of convolutions and linear maps that are being trained, at least one."""
    found: list[Tensor] = [
        parameter
        for name, parameter in module.named_parameters()
        if "weight" in name.rpartition(".")[2] and parameter.ndim > 1 and parameter.requires_grad
    ]
    if not found:
        raise ValueError(
            "AWP finds no trained weight of a convolution or linear map: train without"
        )
    return found


@torch.no_grad()
def _add(weights: Sequence[Tensor], moves: Sequence[Tensor], sign: int) -> None:
    for weight, move in zip(weights, moves, strict=True):
        weight.add_(move, alpha=sign)
