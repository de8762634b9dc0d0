"""How a run optimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardy.data.order import Mix
from hardy.training.averaging import Averaging
from hardy.training.phases import Probing


@dataclass(frozen=True)
class Settings:
    """How a run optimises. batch_size: pictures in an optimizer step, over all processes.
    accumulate: the parts that a process cuts its share of them into. batchnorm 'frozen' keeps
    the running statistics as they are and uses them; 'train' uses and updates with each
    batch's own. trainable: the names of the parameters that move (None: all that require a
    gradient). average: of the weights, beside the live ones. mix: which rows of train are
    extra data, and their share of a batch. probing: the first epochs, if the head alone is
    trained in them. eps_warmup: the epochs after these in which the radius of training, and the
    length of the attack's steps, grow in a straight line from 0 to their own. cuda_graphs: capture
    each attack as a CUDA graph (see graphed)."""

    epochs: int
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: str = "multistep"
    milestones: tuple[int, ...] = ()
    seed: int = 0
    batchnorm: Literal["train", "frozen"] = "train"
    trainable: frozenset[str] | None = None
    average: Averaging | None = None
    mix: Mix | None = None
    probing: Probing | None = None
    eps_warmup: int = 0
    cuda_graphs: bool = False

    def probing_in(self, epoch: int) -> Probing | None:
        """What the head alone is trained by in an epoch (from 0), or None."""
        return self.probing if self.probing and epoch < self.probing.epochs else None

    @property
    def settled(self) -> int:
        """The epochs, the first ones, that are no measure for those after them."""
        return (self.probing.epochs if self.probing else 0) + self.eps_warmup

    def keeps_batchnorm(self, epoch: int) -> bool:
        """Whether BatchNorm's running statistics stay as they are in an epoch."""
        return self.batchnorm == "frozen" or self.probing_in(epoch) is not None

    def radius_share(self, step: int, steps_per_epoch: int) -> float:
        """What the radius of training is multiplied by at an optimizer step (counted over the run
        from 0): 1 while probing and after the warm-up, and in its k-th step of n, k/n."""
        whole = self.eps_warmup * steps_per_epoch
        done = step + 1 - (self.settled * steps_per_epoch - whole)
        return done / whole if 0 < done < whole else 1.0
