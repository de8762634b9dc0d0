"""Fine-tune a few named weights, or all, on clean pictures, everything else frozen.

The authors' code leaves BatchNorm in train mode, so its statistics move although the paper
freezes the rest; here that is a setting of its own, 'frozen' by default, and re-estimating
the statistics without training any weight is a baseline of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.finetuning.prefix import kept_prefix
from hardy.finetuning.suffix import weight_of
from hardy.methods.protocol import Nets
from hardy.methods.standard import Standard
from hardy.modes import batchnorms
from hardy.training.settings import Settings

if TYPE_CHECKING:
    from hardy.training.engine import Engine

BN_ONLY = "bn only"
ALL = "all weights"


@dataclass(frozen=True)
class Candidate:
    """What is tried: the modules tuned together, the learning rate, BatchNorm's mode.

    No modules: only BatchNorm's statistics are re-estimated. match 'substring' also trains
    every parameter whose name contains a module's name, as the authors' code does; 'all'
    trains every parameter of the network, and modules is (ALL,).
    """

    modules: tuple[str, ...]
    lr: float
    batchnorm: str = "frozen"
    match: str = "exact"

    @property
    def label(self) -> str:
        if not self.modules:
            return BN_ONLY
        names = (
            " + ".join(self.modules) if len(self.modules) < 4 else f"{len(self.modules)} modules"
        )
        mode = "" if self.batchnorm == "frozen" else ", BN re-estimated"
        return f"{names}, lr {self.lr:g}{mode}"

    def trainable(self, model: nn.Module) -> frozenset[str]:
        """The names of the parameters that move."""
        if self.match == "all":
            return frozenset(name for name, _ in model.named_parameters())
        if self.match == "substring":
            return frozenset(
                name for name, _ in model.named_parameters() if any(m in name for m in self.modules)
            )
        wanted = {id(weight_of(model, module)) for module in self.modules}
        return frozenset(name for name, p in model.named_parameters() if id(p) in wanted)


def has_batchnorm(model: nn.Module) -> bool:
    """Whether there are running statistics to re-estimate."""
    return any(norm.track_running_stats for norm in batchnorms(model))


def tune(
    engine: Engine,
    model: nn.Module,
    candidate: Candidate,
    train: Split,
    augment: Augment | None,
    settings: Settings,
    attack: PGD,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Tensor]:
    """The entries of the state dict that fine-tuning changed; `model` itself is left alone.

    settings.lr, batchnorm and trainable are the candidate's. Without augmentation and with
    frozen BatchNorm what lies before the modules is computed once (see `prefix`), where that
    can be; `note` is told so, or why it cannot.
    """
    from hardy.training.loop import fit  # brings the engine, and measuring criticality needs none

    tuned = copy.deepcopy(model)
    if candidate.modules:
        own = replace(
            settings,
            lr=candidate.lr,
            batchnorm="frozen" if candidate.batchnorm == "frozen" else "train",
            trainable=candidate.trainable(tuned),
        )
        network, pictures = tuned, train
        if augment is None and own.batchnorm == "frozen" and own.trainable:
            told = partial(_told, note, candidate.label)
            found = kept_prefix(engine, tuned, own.trainable, train, own.batch_size, told)
            if found is not None:
                network, pictures = found.network, found.train
                own = replace(own, trainable=found.trainable)
        nets = Nets(network, network, network)
        fit(engine, nets, Standard(), attack, pictures, augment, own, label=candidate.label)
    else:
        reestimate(tuned, train, augment, settings)
    before = model.state_dict()
    return {k: v.cpu() for k, v in tuned.state_dict().items() if not torch.equal(v, before[k])}


@torch.no_grad()
def reestimate(model: nn.Module, train: Split, augment: Augment | None, settings: Settings) -> None:
    """One pass over clean pictures in train mode: BatchNorm's running averages follow them."""
    model.train()
    for batch in batches(
        train,
        settings.batch_size,
        seed=settings.seed,
        augment=augment,
        shuffle=True,
        drop_last=True,
    ):
        model(batch.x)
    model.eval()


def _told(note: Callable[[str], None], label: str, sentence: str) -> None:
    note(f"{label}: {sentence}")
