"""LIGS as a regulariser around any method: the loss is to be locally linear at the pictures.

    L(theta) + weight * E (1 - cos(grad_x CE(x, y), grad_x CE(x + v, y))),  v ~ N(0, sigma^2)

x are the clean pictures of the batch, v is drawn anew in every epoch, and the gradients to the
pixels are differentiated to the weights. An example without a cosine, for a gradient that is
zero, adds nothing. The authors regularise so too, and find more robust and not clearly more
clean accuracy; their training code is not published, so weight and mode are our own choice.

Source: Benz et al., Batch normalization increases adversarial vulnerability and decreases
adversarial transferability: a non-robust feature perspective (ICCV 2021; arXiv 2010.03316).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hardy.attacks.alignment import alignment
from hardy.data.loader import Batch
from hardy.methods.protocol import Nets, Wrapper
from hardy.modes import attacked_in


@dataclass(frozen=True)
class LIGSRegularised(Wrapper):
    """base: the method that is wrapped. weight: of what the cosine lacks to 1. sigma: standard
    deviation of v, pixels. mode: of the network in the extra passes; 'eval', in which LIGS is
    measured, or 'train', in which BatchNorm has the statistics of each batch and its own stay.

    Raises ValueError where weight or sigma is not positive."""

    weight: float = 1.0
    sigma: float = 0.01
    mode: Literal["eval", "train"] = "eval"

    def __post_init__(self) -> None:
        for name in ("weight", "sigma"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"LIGS's {name} must be positive, not {value:g}")

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        """The base's values with the penalty in 'loss', and 'ligs' of the batch."""
        values = self.base.loss(nets, batch, x_adv, progress)
        v = self.sigma * batch.draws.normal(batch.x.shape[1:], "ligs", batch.x.dtype)
        # The bare network: the engine's wrapper cannot be differentiated twice. Its exchange of
        # gradients still sees these, for they end in the same parameters in the same pass.
        with attacked_in(self.mode, nets.module):
            cosine = alignment(nets.forward, batch.x, v, batch.y, create_graph=True)
        known = ~cosine.isnan()
        lacking = torch.where(known, 1 - cosine, 0)
        ligs = torch.where(known, cosine, 0).detach().sum() / known.sum().clamp(min=1)
        return {**values, "loss": values["loss"] + self.weight * lacking.mean(), "ligs": ligs}
