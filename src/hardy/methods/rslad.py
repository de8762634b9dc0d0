"""RSLAD: Zi et al., Revisiting adversarial robustness distillation: robust soft labels make
student better, ICCV 2021 (arXiv 2108.07969), eq. 6.

    min over theta of E[ 5/6 KL(T(x) || S(x')) + 1/6 KL(T(x) || S(x)) ]

x' ascends the same divergence from a little beside x. The teacher's opinion of the clean picture,
the robust soft label, takes the label's place everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardy.data.loader import Batch
from hardy.losses import probabilities
from hardy.methods.distillation import Ascends, Distillation, must_be_share, teacher_of
from hardy.methods.protocol import Nets
from hardy.modes import clean_and_attacked


@dataclass(frozen=True)
class RSLAD(Distillation):
    """robust: the weight of the attacked pictures, in [0, 1]; the rest is the clean ones'.
    log_constant: what the authors' code adds to the teacher's probabilities inside their
    logarithm (1e-5), which shifts the loss that is logged and no gradient. The other settings are
    those of every distillation; the authors' schedule is the recipe rslad_official.

    Raises ValueError for another weight, a constant below 0, and as every distillation."""

    objective: Ascends = "clean"
    start: float | None = 1e-3
    robust: float = 5 / 6
    log_constant: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_share(self, "robust")
        if not self.log_constant >= 0:
            raise ValueError(f"RSLAD's log_constant must be at least 0, not {self.log_constant:g}")

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        robust = self._divergence(self.asked(nets, batch, x_adv), logits_adv)
        natural = self._divergence(teacher_of(nets).clean(batch), logits)
        loss = self.robust * robust + (1 - self.robust) * natural
        return {"loss": loss, "robust_kl": robust, "natural_kl": natural}

    def _divergence(self, teacher: Tensor, student: Tensor) -> Tensor:
        found = self.divergence(teacher, student)
        if self.log_constant:
            p = probabilities(teacher / self.temperature)
            shift = (p * (p + self.log_constant).log() - p * p.log()).nan_to_num().sum(1)
            found = found + self.per_class(self.temperature**2 * shift, student)
        return found.mean()
