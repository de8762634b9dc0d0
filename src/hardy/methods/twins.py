"""TWINS: Liu et al., TWINS: a fine-tuning framework for improved transferability of adversarial
robustness and generalization, CVPR 2023.

    min over theta of  lam * L(theta; frozen wing) + L(theta; adaptive wing)

    AT:      L = CE(f(x'), y)
    TRADES:  L = CE(f(x), y) + beta * KL(p(x) || p(x'))

The network is one that was pre-trained robustly on other pictures. Each half of a batch goes
through a wing of its own (see models.twins), and L is the mean over that half. x' ascends
cross-entropy from a uniform start through the adaptive wing in eval mode, in TRADES too. What is
validated and saved is the adaptive wing, an ordinary network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.losses import cross_entropy, kl_divergence
from hardy.methods.protocol import Method, Nets
from hardy.models.twins import frozen_share, must_have_batchnorm, to_plain, to_twins
from hardy.modes import clean_and_attacked, evaluating

FRESH = (
    "TWINS keeps the statistics of an earlier training, and this network was new: start from "
    "--checkpoint or --pretrained."
)


@dataclass(frozen=True)
class TWINS(Method):
    """variant: the loss of a wing. lam: the weight of the frozen wing. beta: the weight of the
    divergence in TRADES. affine: whether each wing trains a gamma and beta of its own.
    normalised: divide by 1 + lam; without, the gradient is that many times AT's at the same
    learning rate. kl_scale: the divergence is a mean over its half of the batch, or, as in the
    authors' code, its sum over the half by the size of the batch, which halves beta.

    A batch of one picture has only the adaptive wing's loss. Raises ValueError where lam or beta
    is negative, where beta or kl_scale is set and there is no divergence, and in training where
    the network has no BatchNorm."""

    variant: Literal["at", "trades"] = "at"
    lam: float = 1.0
    beta: float = 6.0
    affine: Literal["separate", "shared"] = "separate"
    normalised: bool = False
    kl_scale: Literal["mean", "authors"] = "mean"

    def __post_init__(self) -> None:
        for name, value in (("lam", self.lam), ("beta", self.beta)):
            if not 0 <= value < math.inf:
                raise ValueError(f"TWINS' {name} must be at least 0, such as 1, not {value:g}")
        if self.variant == "at" and (self.beta, self.kl_scale) != (TWINS.beta, TWINS.kl_scale):
            raise ValueError(
                "TWINS' beta and kl_scale are of its divergence: add variant=trades, or leave them "
                "out"
            )

    def check(self, model: nn.Module, fresh: bool) -> str | None:
        must_have_batchnorm(model)
        return FRESH if fresh else None

    def prepare(self, nets: Nets) -> Nets:
        twins = to_twins(nets.module, affine=self.affine)
        return replace(nets, student=twins, module=twins, forward=twins)

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        with evaluating(nets.module):
            return attack(nets.forward, batch.x, batch.y, batch.draws)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        values: dict[str, Tensor] = {}
        if self.variant == "at":
            natural = cross_entropy(nets.student(x_adv), batch.y)
            divergence = torch.zeros_like(natural)
        else:
            # Two passes: in a joint one all clean pictures would be in one wing.
            logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, "separate")
            natural = cross_entropy(logits, batch.y)
            divergence = kl_divergence(logits, logits_adv)
        count = frozen_share(len(batch))
        for wing, rows in (("frozen", slice(0, count)), ("adaptive", slice(count, None))):
            of = len(batch) if self.kl_scale == "authors" else None
            values[wing] = _mean(natural[rows]) + self.beta * _mean(divergence[rows], of)
        whole = self.lam * values["frozen"] + values["adaptive"]
        return {"loss": whole / (1 + self.lam) if self.normalised else whole, **values}

    def deployable(self, nets: Nets) -> nn.Module:
        return to_plain(nets.module)


def _mean(values: Tensor, count: int | None = None) -> Tensor:
    """Their sum over `count` (unset: over how many they are); of none it is 0."""
    return values.sum() / max(1, len(values) if count is None else count)
