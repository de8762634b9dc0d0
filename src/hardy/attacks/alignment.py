"""How alike the gradients to two pictures are: what LIGS averages, and its regulariser raises.

Source: Benz et al., Batch normalization increases adversarial vulnerability and decreases
adversarial transferability (ICCV 2021; arXiv 2010.03316), local input gradient similarity.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hardy.attacks.pgd import Loss
from hardy.attacks.search import gradient
from hardy.losses import log_odds_against
from hardy.modes import Forward
from hardy.threat import unit


def alignment(
    forward: Forward,
    x: Tensor,
    v: Tensor,
    y: Tensor,
    loss: Loss = log_odds_against,
    *,
    create_graph: bool = False,
) -> Tensor:
    """cos(grad_x loss(x, y), grad_x loss(x + v, y)) of each example, (B,), in [-1, 1]; NaN where
    one of the gradients is zero everywhere.

    x, v: (B, C, H, W) pixels; x + v is not clamped. loss: of logits and labels, one value an
    example. The usual one gives cross-entropy's cosine: its gradients point the same way, and
    do not vanish where a network is confident. Each picture has a forward pass of its own, so a
    BatchNorm in train mode takes two batches. create_graph: so that the cosine can be
    differentiated to the parameters; an example without one has no part in that.

    Raises ValueError where the network has no gradient to its input.
    """
    # The fused kernels of attention have no second derivative.
    with sdpa_kernel(SDPBackend.MATH) if create_graph else nullcontext():
        here, there = (unit(_gradient(forward, at, y, loss, create_graph)) for at in (x, x + v))
    cosine = (here * there).flatten(1).sum(1)
    known = here.detach().flatten(1).any(1) & there.detach().flatten(1).any(1)
    return torch.where(known, cosine, torch.nan)


def _gradient(forward: Forward, x: Tensor, y: Tensor, loss: Loss, create_graph: bool) -> Tensor:
    x = x.detach().requires_grad_()
    return gradient(loss(forward(x), y).sum(), x, create_graph=create_graph)
