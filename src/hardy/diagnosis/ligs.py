"""LIGS, the local input gradient similarity: does the loss change in the same direction at a
picture and a little beside it?

    LIGS = E cos(grad_x CE(x, y), grad_x CE(x + v, y)),  v ~ N(0, sigma^2), in eval mode

Near 1 the loss is locally linear and one gradient step says what many do; adversarially
trained networks are there, standard ones with BatchNorm are not. As in the authors' code v is
0.01 and x + v is not clamped. Other than there the share of pictures without a cosine, for a
gradient that is zero, is reported, and no confident network has it for rounding alone
(see `losses.log_odds_against`).

Source: Benz et al., Batch normalization increases adversarial vulnerability and decreases
adversarial transferability: a non-robust feature perspective (ICCV 2021; arXiv 2010.03316).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from hardy.attacks.alignment import alignment
from hardy.attacks.pgd import PGD, Loss
from hardy.attacks.search import must_be_finite
from hardy.console import progress
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.diagnosis.cosines import Ligs
from hardy.draws import Draws
from hardy.evaluation.results import Scalar
from hardy.evaluation.steps import Steps
from hardy.losses import log_odds_against, margin
from hardy.memory import Halving
from hardy.modes import Forward, evaluating, forward_in, frozen, without_tf32

LossName = Literal["ce", "margin"]
SIGMA = 0.01  # the authors'
LOSSES: dict[str, Loss] = {"ce": log_odds_against, "margin": margin}


@dataclass(frozen=True)
class Neighbour:
    """The point x + v that a picture is compared with, not clamped.

    kind: 'gaussian' v ~ N(0, sigma^2) and 'uniform' v ~ U(-sigma, sigma) of each pixel, or
    'adversarial', what one run of `attack` adds. sigma: pixels.

    Raises ValueError where sigma is not positive, or an attack is missing or too much.
    """

    kind: Literal["gaussian", "uniform", "adversarial"] = "gaussian"
    sigma: float = SIGMA
    attack: PGD | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma must be positive, such as 0.01, not {self.sigma:g}")
        if (self.attack is None) == (self.kind == "adversarial"):
            raise ValueError("an attack goes with the kind 'adversarial', and only with that")

    @property
    def setting(self) -> dict[str, Scalar]:
        """What a measurement must say of it."""
        if self.attack is not None:
            return {"v": self.kind, **self.attack.setting}
        return {"v": self.kind, "sigma": self.sigma}

    def v(self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, number: int = 0) -> Tensor:
        """v of a batch, (B, C, H, W); other draws of it have other numbers."""
        if self.attack is not None:
            return self.attack(forward, x, y, replace(draws, restart=number)) - x
        shape, stream = x.shape[1:], f"ligs/{number}"
        if self.kind == "gaussian":
            return self.sigma * draws.normal(shape, stream, x.dtype)
        return self.sigma * draws.uniform(shape, stream, x.dtype).mul(2).sub(1)


def ligs(
    model: nn.Module,
    split: Split,
    neighbour: Neighbour | None = None,
    *,
    loss: LossName = "ce",
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    precision: str = "fp32",
    label: str = "",
    steps: Steps | None = None,
) -> Ligs:
    """The cosine of every picture of a split and each of `draws` v, the network in eval mode.

    neighbour: unset, the paper's. loss: 'ce', or 'margin', the largest wrong logit less the
    right one. precision: of the attack's search alone. steps: where finished draws are kept.

    Raises ValueError where draws is less than 1, or the network has no gradient to its input or
    gives NaN or infinity.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    neighbour, steps = neighbour or Neighbour(), steps or Steps()
    with (
        evaluating(model),
        frozen(model),
        without_tf32(),
        progress(label or "LIGS", draws * len(split)) as advance,
    ):
        search, halving = forward_in(model, split.device, precision), Halving()

        def finite(x: Tensor) -> Tensor:  # NaN is no zero gradient, and must not pass for one
            logits = model(x)
            must_be_finite(logits)
            return logits

        def of_draw(number: int) -> Tensor:
            def cosines_of(b: Batch) -> Tensor:
                v = neighbour.v(search, b.x, b.y, b.draws, number)
                return alignment(finite, b.x, v, b.y, LOSSES[loss])

            found = []
            for b, here in halving(batches(split, batch_size, seed=seed), cosines_of):
                found.append(here)
                advance(len(b))
            return torch.cat(found)

        cosines = [steps.tensor(f"draw {i}", lambda i=i: of_draw(i)) for i in range(draws)]
    setting = {**neighbour.setting, "loss": loss, "draws": draws, "seed": seed, "dtype": "fp32"}
    if neighbour.attack is not None and precision != "fp32":
        setting["search"] = precision
    return Ligs(torch.stack(cosines).clamp(-1, 1), split.labels.cpu(), setting)
