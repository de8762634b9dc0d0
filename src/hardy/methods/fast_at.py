"""Fast AT: Wong et al., Fast is better than free: revisiting adversarial training, ICLR 2020
(arXiv 2001.03994), algorithm 3.

    min over theta of E[ CE(f(x'), y) ],  x' = one step of length alpha * eps from a random start

As robust as PGD-AT at a quarter of its cost, until it is not: at large radii the network
suddenly learns to fool the single step, and its accuracy under several steps falls to zero
(catastrophic overfitting). The run notices that on val, see --on-collapse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.protocol import Method, Nets
from hardy.modes import attacked_in


@dataclass(frozen=True)
class FastAT(Method):
    """alpha: the length of the step in units of eps (10/255 at 8/255). attack_mode: the
    network's mode while it is attacked; the authors' is train. The run's own steps are those
    that validate it.

    Raises ValueError where alpha is not positive."""

    alpha: float = 1.25
    attack_mode: Literal["eval", "train"] = "eval"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"Fast AT's alpha must be positive, such as 1.25, not {self.alpha:g}")

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        step = self.alpha * attack.threat.eps
        one = replace(attack, steps=1, step_size=step, random_start=True)
        with attacked_in(self.attack_mode, nets.module):
            return one(nets.forward, batch.x, batch.y, batch.draws)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        return {"loss": cross_entropy(nets.student(x_adv), batch.y).mean()}
