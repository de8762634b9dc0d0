"""IAD: Zhu et al., Reliable adversarial distillation with unreliable teachers, ICLR 2022
(arXiv 2106.04928), eq. 5 and 6: where the teacher does not know x' either, the student trusts
its own opinion of x instead.

    A = p_T(y | x')^beta, and 1 until the end of the warm-up
    IAD-I    tau^2 KL(T(x)/tau || S(x')/tau) + (1 - A) KL(S(x) || S(x'))
    IAD-II   labels CE(S(x'), y) + natural KL(T_nat(x') || S(x'))
             + (1 - labels - natural) [ A KL(T(x') || S(x')) + (1 - A) KL(S(x) || S(x')) ]

IAD-II, with a second, naturally trained teacher T_nat, is the recipe iad2_official. x' ascends the
student's cross-entropy in train mode, from a uniform start.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.distillation import NATURAL, ROBUST, Introspection, Mode, teacher_of
from hardy.methods.protocol import Nets


@dataclass(frozen=True)
class IAD(Introspection):
    """labels, natural: the weights of the labels and of the natural teacher, who is needed where
    his is not 0. The other settings are those of every distillation, and of every one with
    introspection: 60 of 200 epochs of warm-up in the authors' IAD-I and 40 in IAD-II; weighted in
    the paper and in the authors' IAD-II, not in their IAD-I. Their schedules are the recipes
    iad_official and iad2_official.

    Raises ValueError where a weight is negative or they leave nothing for the robust teacher,
    and as every distillation."""

    attack_mode: Mode = "train"
    labels: float = 0.0
    natural: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (min(self.labels, self.natural) >= 0 and self.labels + self.natural < 1):
            raise ValueError(
                "IAD's labels and natural must not be negative and add up to less than 1, not "
                f"{self.labels:g} and {self.natural:g}"
            )

    @property
    def roles(self) -> tuple[str, ...]:
        return (ROBUST, NATURAL) if self.natural else (ROBUST,)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        logits_adv, robust, own = self.terms(nets, batch, x_adv, progress)
        loss = (1 - self.labels - self.natural) * (robust + own)
        found = {"robust_kl": robust, "introspection": own}
        if self.labels:
            found["labels"] = cross_entropy(logits_adv, batch.y).mean()
            loss = loss + self.labels * found["labels"]
        if self.natural:
            said = teacher_of(nets, NATURAL).fixed(x_adv)
            found["natural_kl"] = self.divergence(said, logits_adv).mean()
            loss = loss + self.natural * found["natural_kl"]
        return {"loss": loss, **found}
