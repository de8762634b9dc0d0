"""AdaAD: Huang et al., Boosting accuracy and robustness of student models via adaptive adversarial
distillation, CVPR 2023, eq. 5 and 6.

    min over theta of E[ alpha KL(T(x') || S(x')) + (1 - alpha) KL(T(x) || S(x)) ]
    x' ascends KL(T(x') || S(x')), the teacher moving with it

So x' is where student and teacher disagree most, and its gradient goes through both networks: a
step costs a forward and a backward pass of the teacher more than in any other method.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardy.data.loader import Batch
from hardy.methods.distillation import Ascends, AskedAt, Distillation, must_be_share, teacher_of
from hardy.methods.protocol import Nets
from hardy.modes import clean_and_attacked


@dataclass(frozen=True)
class AdaAD(Distillation):
    """alpha: the weight of the attacked pictures, in [0, 1]; the rest is the clean ones', which
    are not looked at where it is 1. The other settings are those of every distillation; the
    authors' schedule is the recipe adaad_official. It keeps its clean accuracy at large training
    radii, up to 32/255 in the paper: --eps sets that one, --eval-eps the one to be measured.

    Raises ValueError for another alpha, and as every distillation."""

    objective: Ascends = "moving"
    target: AskedAt = "adversarial"
    start: float | None = 1e-3
    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_share(self, "alpha")

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        taught = self.asked(nets, batch, x_adv)
        if self.alpha == 1:
            robust = self.divergence(taught, nets.student(x_adv)).mean()
            return {"loss": robust}
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        natural = self.divergence(teacher_of(nets).clean(batch), logits).mean()
        robust = self.divergence(taught, logits_adv).mean()
        loss = self.alpha * robust + (1 - self.alpha) * natural
        return {"loss": loss, "robust_kl": robust, "natural_kl": natural}
