"""What a training method is.

A method is one file with one frozen dataclass of its paper's settings. The loop calls

    method.check(model, fresh)                           is it a network that it can train?
    nets = method.prepare(nets)                          once, before the optimizer is made
    x_adv = method.adversary(nets, batch, attack)        the inner maximisation
    with method.around_step(nets, parts, progress):      AWP perturbs here
        values = method.loss(nets, batch, x_adv, progress)
    method.deployable(nets)                              the plain net to validate and save

and knows nothing else about it. The radius, the steps and the schedule belong to the run:
`attack` carries them, and a method that needs another objective or start calls
`attack.ascend` with its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.modes import Forward


@dataclass(frozen=True)
class Nets:
    """The networks of a run.

    student: as the engine wraps it, for the outer loss, whose gradients it may reduce over
    devices. module: the bare network. forward: the bare network under the run's autocast,
    for attacks, which must make no collective call. teachers: frozen networks by role. mean:
    the mean of each tensor over the processes of the run, for gradients that a method takes
    of `forward` by itself.
    """

    student: Forward
    module: nn.Module
    forward: Forward
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)
    mean: Callable[[Sequence[Tensor]], list[Tensor]] = list


# One of the losses whose sum is the loss of a step: there are several where gradients are
# accumulated over parts of the batch.
LossOf = Callable[[Nets], Tensor]


@dataclass(frozen=True)
class Method(ABC):
    """A training method; subclasses are final and add the fields of their paper."""

    @property
    def select_on(self) -> Literal["clean", "robust"]:
        """The accuracy on val by which the best epoch is kept."""
        return "robust"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the teachers that it needs, such as 'robust'."""
        return ()

    @abstractmethod
    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        """Adversarial pictures for batch.x, (B, C, H, W), detached."""

    @abstractmethod
    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        """Scalars by name; 'loss' is minimised, the others are logged. progress: the
        fraction of training done, in [0, 1)."""

    def check(self, model: nn.Module, fresh: bool) -> str | None:
        """Before a run begins: a sentence for the reader where the method means little for that
        network, whose weights are new if it is fresh. Raises ValueError where it cannot train
        it."""
        del model, fresh
        return None

    def prepare(self, nets: Nets) -> Nets:
        """The networks as this method needs them."""
        return nets

    def around_step(
        self, nets: Nets, parts: Sequence[LossOf], progress: float
    ) -> AbstractContextManager[None]:
        """A context around the accumulated backward pass and the optimizer step. parts: what
        will be summed inside, as functions of the networks. Where something is raised inside, all
        that it changed must be as before, to the bit: the step is made again."""
        del nets, parts, progress
        return nullcontext()

    def deployable(self, nets: Nets) -> nn.Module:
        """The plain network that is validated, saved and exported."""
        return nets.module


@dataclass(frozen=True)
class Wrapper(Method):
    """A method around another; subclasses are final and change what their paper does. What one
    leaves alone, the base does."""

    base: Method

    @property
    def select_on(self) -> Literal["clean", "robust"]:
        return self.base.select_on

    @property
    def roles(self) -> tuple[str, ...]:
        return self.base.roles

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        return self.base.adversary(nets, batch, attack)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        return self.base.loss(nets, batch, x_adv, progress)

    def check(self, model: nn.Module, fresh: bool) -> str | None:
        return self.base.check(model, fresh)

    def prepare(self, nets: Nets) -> Nets:
        return self.base.prepare(nets)

    def around_step(
        self, nets: Nets, parts: Sequence[LossOf], progress: float
    ) -> AbstractContextManager[None]:
        return self.base.around_step(nets, parts, progress)

    def deployable(self, nets: Nets) -> nn.Module:
        return self.base.deployable(nets)
