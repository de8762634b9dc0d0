"""Who is right on which example: clean, and under the worst of several attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardy.attacks.active_set import still_standing
from hardy.attacks.pgd import PGD
from hardy.console import progress
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.statistics import paired, wilson
from hardy.modes import Forward, evaluating, forward_in, frozen


@dataclass(frozen=True)
class Protocol:
    """How robust accuracy is measured: the worst of `restarts` runs of `attack`, its starts
    by `seed`. precision: of the attack's search; whether an example is broken is decided
    in the network's own precision in any case."""

    attack: PGD
    restarts: int = 3
    seed: int = 0
    precision: str = "fp32"
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise ValueError(f"restarts must be at least 1, not {self.restarts}")

    @property
    def setting(self) -> dict[str, Scalar]:
        """What a measurement must say of it."""
        attack = self.attack
        return {
            "attack": "PGD",
            "norm": type(attack.threat).__name__.lower(),
            "eps": attack.threat.eps,
            "steps": attack.steps,
            "step_size": attack.step,
            "restarts": self.restarts,
            "seed": self.seed,
            "dtype": self.precision,
        }


@dataclass(frozen=True)
class Verdicts:
    """Of each example of a split: right on the picture, and under the attack; bool (N,)."""

    clean: Tensor
    robust: Tensor


def judge(model: nn.Module, split: Split, protocol: Protocol, label: str = "") -> Verdicts:
    """Clean and robust verdicts of a network, run in eval mode and left as it was."""
    search = forward_in(model, split.images.device, protocol.precision)
    with (
        evaluating(model),
        frozen(model),
        progress(label or "attacking", len(split) * protocol.restarts) as advance,
    ):
        clean = rightly(model, split, protocol.batch_size)
        robust = still_standing(
            search,
            protocol.attack,
            split,
            clean,
            restarts=protocol.restarts,
            seed=protocol.seed,
            batch_size=protocol.batch_size,
            judge=model,
            on_batch=advance,
        )
    return Verdicts(clean.cpu(), robust.cpu())


def adversarial(model: nn.Module, split: Split, protocol: Protocol) -> Tensor:
    """One adversarial example (the first restart's) of every picture of a split, (N, C, H, W),
    for the network in eval mode."""
    forward = forward_in(model, split.images.device, protocol.precision)
    with evaluating(model):
        found = [
            protocol.attack(forward, b.x, b.y, b.draws)
            for b in batches(split, protocol.batch_size, seed=protocol.seed)
        ]
    return torch.cat(found)


@torch.no_grad()
def rightly(forward: Forward, split: Split, batch_size: int = 256) -> Tensor:
    """Which examples are classified rightly, bool (N,)."""
    found = [forward(b.x).argmax(1) == b.y for b in batches(split, batch_size, seed=0)]
    return torch.cat(found)


def accuracies(
    verdicts: Verdicts, protocol: Protocol, split: str, subject: str, **more: Scalar
) -> list[Measurement]:
    """Clean and robust accuracy as measurements, with Wilson intervals."""
    clean = _accuracy("clean accuracy", verdicts.clean, split, subject, {"dtype": "fp32", **more})
    setting = {**protocol.setting, **more}
    return [clean, _accuracy("robust accuracy", verdicts.robust, split, subject, setting)]


def gains(
    before: Verdicts, after: Verdicts, protocol: Protocol, split: str, subject: str
) -> list[Measurement]:
    """The paired differences after − before, with intervals."""
    return [
        _gain("clean accuracy gain", before.clean, after.clean, split, subject, {"dtype": "fp32"}),
        _gain(
            "robust accuracy gain", before.robust, after.robust, split, subject, protocol.setting
        ),
    ]


def _accuracy(
    quantity: str, right: Tensor, split: str, subject: str, setting: dict[str, Scalar]
) -> Measurement:
    hits, n = int(right.sum()), len(right)
    return Measurement(
        quantity, hits / n, split, n, subject, interval=wilson(hits, n), setting=setting
    )


def _gain(
    quantity: str,
    before: Tensor,
    after: Tensor,
    split: str,
    subject: str,
    setting: dict[str, Scalar],
) -> Measurement:
    gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    interval = paired(gained, lost, n)
    more = {"gained": gained, "lost": lost}
    value = (gained - lost) / n
    return Measurement(
        quantity, value, split, n, subject, interval=interval, setting={**setting, **more}
    )
