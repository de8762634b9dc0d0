"""TRADES: Zhang et al., Theoretically principled trade-off between robustness and accuracy,
ICML 2019 (arXiv 1901.08573), algorithm 1.

    min over theta of E[ CE(f(x), y) + beta * max over x' of KL(p(x) || p(x')) ]

The inner maximiser starts a little beside the picture, for at the picture itself the
divergence is zero and so is its gradient, and p(x) stays fixed in it. In the outer loss the
gradient flows through both sides of the divergence, as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hardy.attacks.pgd import PGD, beside
from hardy.data.loader import Batch
from hardy.losses import cross_entropy, kl_divergence
from hardy.methods.protocol import Method, Nets
from hardy.modes import clean_and_attacked, evaluating


@dataclass(frozen=True)
class TRADES(Method):
    """beta: the weight of the divergence. start: standard deviation of the normal noise, in
    pixels, that the attack starts with. forwards: whether BatchNorm sees clean and attacked
    pictures apart or together. The authors' radius, steps and schedule are the recipe
    trades_official.

    Raises ValueError where start is not positive: the attack would stay where it is."""

    beta: float = 6.0
    start: float = 1e-3
    forwards: Literal["separate", "joint"] = "separate"

    def __post_init__(self) -> None:
        if not 0 < self.start < math.inf:
            raise ValueError(f"TRADES' start must be positive, such as 0.001, not {self.start:g}")

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        x = batch.x
        with evaluating(nets.module):
            with torch.no_grad():
                logits = nets.forward(x)
            start = beside(x, batch.draws, self.start)
            return attack.ascend(lambda z: kl_divergence(logits, nets.forward(z)), x, start)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        natural = cross_entropy(logits, batch.y).mean()
        robust = kl_divergence(logits, logits_adv).mean()
        return {"loss": natural + self.beta * robust, "natural": natural, "robust_kl": robust}
