"""Who is right on which example: clean, and under the worst of several attacks."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hardy.attacks.active_set import STANDS, Kept, Progress, Stage, cascade
from hardy.attacks.pgd import PGD
from hardy.attacks.search import must_be_finite
from hardy.compiled import Compiled
from hardy.console import progress
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.statistics import mcnemar, paired, wilson
from hardy.memory import Halving, tried
from hardy.models.folded import folded
from hardy.modes import Forward, evaluating, forward_in, frozen, without_tf32
from hardy.threat import Threat


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
        _at_least_once(self.restarts)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The restarts."""
        return (Stage(self.attack.name, (self.attack,) * self.restarts),)

    @property
    def setting(self) -> dict[str, Scalar]:
        """What a measurement must say of it."""
        return {
            **self.attack.setting,
            "restarts": self.restarts,
            "seed": self.seed,
            "dtype": self.precision,
        }


@dataclass(frozen=True)
class Ensemble:
    """How robust accuracy is measured by attacks that stop at the first success: `stages` one
    after the other, each on what those before it left. name: of the whole, such as
    'AutoAttack'. `more`: what a measurement must say beside the norm, radius, seed and
    precision, which are as in `Protocol`."""

    name: str
    stages: tuple[Stage, ...]
    seed: int = 0
    precision: str = "fp32"
    batch_size: int = 256
    more: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _at_least_once(sum(len(stage.runs) for stage in self.stages))

    @property
    def threat(self) -> Threat:
        """What the attacker may do, the same in all stages."""
        return self.stages[0].runs[0].threat

    @property
    def setting(self) -> dict[str, Scalar]:
        """What a measurement must say of it."""
        return {
            "attack": self.name,
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            **self.more,
            "seed": self.seed,
            "dtype": self.precision,
        }


def _at_least_once(runs: int) -> None:
    if runs < 1:
        raise ValueError(f"restarts must be at least 1, not {runs}")


@dataclass(frozen=True)
class Verdicts:
    """Of each example of a split: right on the picture, and under the attack, bool (N,); and
    the number of the stage that broke it, int64 (N,), STANDS or WRONG for the others."""

    clean: Tensor
    robust: Tensor
    by: Tensor | None = None


def judge(
    model: nn.Module,
    split: Split,
    protocol: Protocol | Ensemble,
    label: str = "",
    kept: Kept | None = None,
    *,
    compiled: bool = False,
) -> Verdicts:
    """Clean and robust verdicts of a network, run in eval mode and left as it was.

    kept: goes on where an earlier call with the same arguments was stopped. compiled: the search
    runs on the compiled network (see `hardy.compiled`), and the network as it is judges.
    """
    runs = sum(len(stage.runs) for stage in protocol.stages)
    device = split.device
    with (
        evaluating(model),
        frozen(model),
        without_tf32(),
        progress(label or "attacking", len(split) * runs) as advance,
    ):
        clean = rightly(model, split, protocol.batch_size)
        search = model
        if isinstance(protocol, Ensemble) and len(split):
            found = tried(lambda: folded(model, split.pixels(slice(0, protocol.batch_size))))
            search = found[0] if found else model
        if compiled:
            search = Compiled(search)
        exact = search is model and protocol.precision != "bf16"

        def told(now: Progress) -> None:
            stage = f"{now.stage} {now.run}/{now.runs}" if now.runs > 1 else now.stage
            share = 100 * now.standing / len(split)
            advance(now.attacked, now.left, f"{label} {stage}, {share:.1f} % stand")

        by = cascade(
            forward_in(search, device, protocol.precision),
            protocol.stages,
            split,
            clean,
            seed=protocol.seed,
            batch_size=protocol.batch_size,
            judge=None if exact else model,
            on_batch=told,
            kept=kept,
        )
    return Verdicts(clean.cpu(), (by == STANDS).cpu(), by.cpu())


def adversarial(model: nn.Module, split: Split, protocol: Protocol) -> Tensor:
    """One adversarial example (the first restart's) of every picture of a split, (N, C, H, W),
    for the network in eval mode."""
    forward = forward_in(model, split.device, protocol.precision)
    with evaluating(model):
        found = Halving()(
            batches(split, protocol.batch_size, seed=protocol.seed),
            lambda b: protocol.attack(forward, b.x, b.y, b.draws),
        )
        return torch.cat([x_adv for _, x_adv in found])


def rightly(forward: Forward, split: Split, batch_size: int = 256) -> Tensor:
    """Which examples are classified rightly, bool (N,). Raises ValueError as `predicted`."""
    return predicted(forward, split, batch_size) == split.labels


@torch.no_grad()
@without_tf32()
def predicted(forward: Forward, split: Split, batch_size: int = 256) -> Tensor:
    """The class that each picture is taken for, int64 (N,).

    Raises ValueError where the network gives NaN or infinity, which would be of some class too.
    """
    found = [split.labels[:0]]
    for _, logits in Halving()(batches(split, batch_size, seed=0), lambda b: forward(b.x)):
        must_be_finite(logits)
        found.append(logits.argmax(1))
    return torch.cat(found)


def accuracies(
    verdicts: Verdicts, protocol: Protocol | Ensemble, split: str, subject: str, **more: Scalar
) -> list[Measurement]:
    """Clean and robust accuracy as measurements, with Wilson intervals."""
    clean = accuracy("clean accuracy", verdicts.clean, split, subject, {"dtype": "fp32", **more})
    setting = {**protocol.setting, **more}
    return [clean, accuracy("robust accuracy", verdicts.robust, split, subject, setting)]


def gains(
    before: Verdicts, after: Verdicts, protocol: Protocol | Ensemble, split: str, subject: str
) -> list[Measurement]:
    """The paired differences after − before, with intervals and McNemar's exact p."""
    return [
        _gain("clean accuracy gain", before.clean, after.clean, split, subject, {"dtype": "fp32"}),
        _gain(
            "robust accuracy gain", before.robust, after.robust, split, subject, protocol.setting
        ),
    ]


def accuracy(
    quantity: str, right: Tensor, split: str, subject: str, setting: dict[str, Scalar]
) -> Measurement:
    """The share of a split that is right, with a Wilson interval; right: bool (N,)."""
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
    more = {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)}
    value = (gained - lost) / n
    return Measurement(
        quantity, value, split, n, subject, interval=interval, setting={**setting, **more}
    )
