"""A network's own curve of clean against robust accuracy.

    theta(alpha) = (1 - alpha) * theta + alpha * theta_clean

theta_clean is a copy of the network of which all weights are fine-tuned on clean pictures; the
way is that of RiFT (Zhu et al. 2023, equation 6), which takes it for one module.
"""

from __future__ import annotations

from torch import nn

from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol
from hardy.evaluation.steps import Steps
from hardy.finetuning.interpolate import Point
from hardy.finetuning.rift import attempt
from hardy.finetuning.tune import ALL, Candidate
from hardy.training.engine import Engine
from hardy.training.loop import Settings

ALPHAS = tuple(i / 10 for i in range(11))


def towards_clean(
    engine: Engine,
    model: nn.Module,
    train: Split,
    augment: Augment | None,
    settings: Settings,
    split: Split,
    protocol: Protocol,
    steps: Steps,
) -> list[Point]:
    """The network's points at ALPHAS, measured on a split; its weights stay its own.

    All weights of the copy are fine-tuned on `train` as the settings say, BatchNorm's statistics
    frozen. What is finished is kept in `steps`, which must be of this network alone.
    """
    tuned = Candidate((ALL,), settings.lr, match="all")
    tried = attempt(engine, model, tuned, train, augment, settings, ALPHAS, split, protocol, steps)
    return tried.points
