"""PGD adversarial training (Madry et al. 2018, arXiv 1706.06083, equation 2.1).

    min over theta of E[ max over ||delta|| <= eps of CE(f_theta(x + delta), y) ]

The inner maximum is sought by PGD on cross-entropy from a uniform start. Authors differ
in BatchNorm's mode while attacking: Pang et al. 2021 (Bag of tricks for AT, the setting of
RiFT) attack in eval mode, Rice et al. 2020 in train mode. In train mode the batch's own
statistics are used and the running ones are put back afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.protocol import Method, Nets
from hardy.modes import attacked_in


@dataclass(frozen=True)
class PGDAT(Method):
    """Madry's adversarial training. attack_mode: the network's mode while it is attacked."""

    attack_mode: Literal["eval", "train"] = "eval"

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        with attacked_in(self.attack_mode, nets.module):
            return attack(nets.forward, batch.x, batch.y, batch.draws)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        return {"loss": cross_entropy(nets.student(x_adv), batch.y).mean()}
