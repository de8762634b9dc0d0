"""AdaIAD: Huang et al., Boosting accuracy and robustness of student models via adaptive adversarial
distillation, CVPR 2023, section 3.3: AdaAD's attack, with the student as its own second teacher
as in IAD.

    min over theta of E[ tau^2 KL(T(x')/tau || S(x')/tau) + (1 - A) KL(S(x) || S(x')) ]
    A = p_T(y | x')^beta, and 1 until the end of the warm-up

x' ascends KL(T(x') || S(x')) with the gradient through both networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardy.data.loader import Batch
from hardy.methods.distillation import Ascends, AskedAt, Introspection
from hardy.methods.protocol import Nets


@dataclass(frozen=True)
class AdaIAD(Introspection):
    """The settings are those of every distillation, and of every one with introspection: beta
    0.1 and a warm-up of 60 of 200 epochs, as in the authors' code, which is the recipe
    adaiad_official.

    Raises ValueError as these do."""

    objective: Ascends = "moving"
    target: AskedAt = "adversarial"
    start: float | None = 1e-3
    temperature: float = 30.0

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        _, robust, own = self.terms(nets, batch, x_adv, progress)
        return {"loss": robust + own, "robust_kl": robust, "introspection": own}
