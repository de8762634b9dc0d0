"""A training method of your own: one class in one file, used by the path of the file.

    hardy train --method ./examples/02_a_method_of_your_own.py --method-options clean_share=0.3 \\
        --data digits --model small_resnet --eps 0.1 --epochs 6 --schedule onecycle

Ten seconds on one core; or run this file itself, which does the same from Python. Radius,
steps, schedule and everything else belong to the run, so the class is only what is new: here
the cross-entropy is shared between the clean pictures and the attacked ones (Goodfellow et
al. 2015, arXiv 1412.6572, with PGD in the place of FGSM).
"""

from dataclasses import dataclass

from torch import Tensor

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.losses import cross_entropy
from hardy.methods.protocol import Method, Nets
from hardy.modes import evaluating


@dataclass(frozen=True)
class HalfAndHalf(Method):
    """clean_share * CE(x) + (1 - clean_share) * CE(x_adv)."""

    clean_share: float = 0.5

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        with evaluating(nets.module):
            return attack(nets.forward, batch.x, batch.y, batch.draws)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        del progress  # the share of the run that is done, for losses that change on the way
        clean = cross_entropy(nets.student(batch.x), batch.y).mean()
        attacked = cross_entropy(nets.student(x_adv), batch.y).mean()
        loss = self.clean_share * clean + (1 - self.clean_share) * attacked
        return {"loss": loss, "clean": clean.detach(), "attacked": attacked.detach()}


if __name__ == "__main__":
    import hardy

    hardy.train(
        method=__file__,
        method_options=("clean_share=0.3",),
        data="digits",
        model="small_resnet",
        eps=0.1,
        epochs=6,
        schedule="onecycle",
    )
