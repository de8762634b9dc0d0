"""MART: Wang et al., Improving adversarial robustness requires revisiting misclassified
examples, ICLR 2020, algorithm 1.

    BCE(x', y) = CE(f(x'), y) - log(1 - max over k != y of p_k(x'))
    min over theta of E[ BCE(x', y) + beta * KL(p(x) || p(x')) * (1 - p_y(x)) ]

x' ascends the cross-entropy. The small constants are those of the authors' code; they would
vanish in half precision, so everything from the logits on is computed in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hardy.attacks.pgd import PGD, beside
from hardy.data.loader import Batch
from hardy.losses import cross_entropy, full, probabilities
from hardy.methods.protocol import Method, Nets
from hardy.modes import clean_and_attacked, evaluating


@dataclass(frozen=True)
class MART(Method):
    """beta: the weight of the divergence, which counts most where the clean picture is
    misclassified. start: standard deviation of the normal noise, in pixels, that the attack
    starts with. forwards: whether BatchNorm sees clean and attacked pictures apart or
    together. The authors' settings are the recipe mart_official."""

    beta: float = 5.0
    start: float = 1e-3
    forwards: Literal["separate", "joint"] = "separate"

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        x, y = batch.x, batch.y
        with evaluating(nets.module):
            start = beside(x, batch.draws, self.start)
            return attack.ascend(lambda z: cross_entropy(nets.forward(z), y), x, start)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        p, p_adv = probabilities(logits), probabilities(logits_adv)
        right = batch.y[:, None]
        wrong = p_adv.scatter(1, right, 0).amax(1)
        boosted = cross_entropy(logits_adv, batch.y) - (1.0001 - wrong + 1e-12).log()
        log_p = full(logits).log_softmax(1)
        divergence = (p * (log_p - (p_adv + 1e-12).log())).sum(1)
        weighted = divergence * (1.0000001 - p.gather(1, right)[:, 0])
        loss = boosted.mean() + self.beta * weighted.mean()
        return {"loss": loss, "boosted_ce": boosted.mean(), "weighted_kl": weighted.mean()}
