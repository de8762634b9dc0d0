"""SCORE: Pang et al., Robustness and accuracy could be reconcilable by (proper) definition,
ICML 2022 (arXiv 2202.10103), with the squared error as their code has it.

    min over theta of E[ ||p(x) - y_s||^2 + beta * max over x' of ||p(x') - p(x)||^2 ]

y_s is the label smoothed: 1 - s for the right class, s / (K - 1) for the others. A loss can
be clipped from below, so that examples that are learnt well enough no longer pull: the excess
over what a prediction of 1 - c for the right class and c / (K - 1) for the others costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hardy.attacks.pgd import PGD, beside
from hardy.data.loader import Batch
from hardy.losses import probabilities, squared_error
from hardy.methods.protocol import Method, Nets
from hardy.modes import attacked_in, clean_and_attacked


@dataclass(frozen=True)
class SCORE(Method):
    """beta: the weight of the second term. smoothing: s. clip_robust: what is taken off the
    second term before it is cut at zero (0 in the authors' runs with extra data). clip: c, for
    an example's whole loss (0.3 with beta 6 in their runs without extra data; 0 clips nothing).
    start: standard deviation of the normal noise, in pixels, that the attack starts with (0.001
    without extra data), clipped to the pixel box; None: a point drawn uniformly from the ball.
    attack_mode: the network's mode while it is attacked. forwards: whether BatchNorm sees clean
    and attacked pictures apart or together.

    Raises ValueError where start is a number that is not positive: the attack would stay there."""

    beta: float = 4.0
    smoothing: float = 0.1
    clip_robust: float = 0.0
    clip: float = 0.0
    start: float | None = None
    attack_mode: Literal["eval", "train"] = "eval"
    forwards: Literal["separate", "joint"] = "separate"

    def __post_init__(self) -> None:
        if self.start is not None and not 0 < self.start < math.inf:
            raise ValueError(
                f"SCORE's start must be none or positive, such as 0.001, not {self.start:g}"
            )

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        x = batch.x
        with attacked_in(self.attack_mode, nets.module):
            with torch.no_grad():
                p = probabilities(nets.forward(x))
            return attack.ascend(
                lambda z: squared_error(probabilities(nets.forward(z)), p),
                x,
                self._start(batch, attack),
            )

    def _start(self, batch: Batch, attack: PGD) -> Tensor:
        x = batch.x
        if self.start is None:
            return attack.threat.random_start(x, batch.draws)
        return beside(x, batch.draws, self.start).clamp(0, 1)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        p, p_adv = probabilities(logits), probabilities(logits_adv)
        others = p.shape[1] - 1
        label = torch.full_like(p, self.smoothing / others)
        label = label.scatter(1, batch.y[:, None], 1 - self.smoothing)
        natural = squared_error(p, label)
        robust = (squared_error(p_adv, p) - self.clip_robust).relu()
        loss = natural + self.beta * robust
        if self.clip:
            loss = (loss - self.clip**2 * (1 + 1 / others)).relu()
        return {"loss": loss.mean(), "natural": natural.mean(), "robust_sq": robust.mean()}
