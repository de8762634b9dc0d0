"""ARD: Goldblum et al., Adversarially robust distillation, AAAI 2020 (arXiv 1905.09747), eq. 3.

    min over theta of E[ alpha tau^2 KL(T(x)/tau || S(x')/tau) + (1 - alpha) CE(S(x), y) ]

x' ascends the student's cross-entropy in train mode, from a uniform start. The teacher says what
it thinks of the clean picture. Where alpha is 1 the student never sees one: the authors' code
runs it all the same, which moves BatchNorm's statistics and nothing else; here it does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.distillation import Distillation, Mode, must_be_share
from hardy.methods.protocol import Nets
from hardy.modes import clean_and_attacked


@dataclass(frozen=True)
class ARD(Distillation):
    """alpha: the weight of the teacher, in [0, 1]; the rest is the labels'. The other settings
    are those of every distillation; the authors' schedule is the recipe ard_official.

    Raises ValueError for another alpha, and as every distillation."""

    attack_mode: Mode = "train"
    temperature: float = 30.0
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
        natural = cross_entropy(logits, batch.y).mean()
        robust = self.divergence(taught, logits_adv).mean()
        loss = self.alpha * robust + (1 - self.alpha) * natural
        return {"loss": loss, "robust_kl": robust, "natural": natural}
