"""Standard training: cross-entropy on the pictures as they are.

    min over theta of E[ CE(f_theta(x), y) ]

The baseline that shows what robustness costs, and the loss with which RiFT fine-tunes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.protocol import Method, Nets


@dataclass(frozen=True)
class Standard(Method):
    """Standard training. It has no settings and no adversary."""

    @property
    def select_on(self) -> Literal["clean", "robust"]:
        return "clean"

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        del nets, attack
        return batch.x

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        return {"loss": cross_entropy(nets.student(x_adv), batch.y).mean()}
