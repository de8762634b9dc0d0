"""The mean of a network's weights over training, for any method.

ema: an exponential moving average after every step, as Gowal et al. 2020 (arXiv 2010.03593,
section 4.5): a plain copy at first, then decay min(decay, (1 + d) / (10 + d)) after d steps.
swa: the equal mean of the weights at the ends of epochs (Izmailov et al. 2018).

BatchNorm's running statistics belong to one set of weights. The mean gets a copy of the live
network's at the end of an epoch, or its own, measured on train; it never shares them, as the
common code of weight averaging does by assigning the buffers. While the mean is still a plain
copy, so are its statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardy.modes import batchnorms


@dataclass(frozen=True)
class Averaging:
    """decay: of ema. start: the fraction of training before which the mean is a plain copy.
    batchnorm: where its running statistics come from, once it is more than a copy.

    Raises ValueError where decay or start lies outside [0, 1)."""

    kind: Literal["ema", "swa"] = "ema"
    decay: float = 0.995
    start: float = 0.025
    batchnorm: Literal["copied", "reestimated"] = "copied"

    def __post_init__(self) -> None:
        for name, value in (("decay", self.decay), ("start", self.start)):
            if not 0 <= value < 1:
                raise ValueError(f"--average-{name} must lie in [0, 1), not {value:g}")


class Average:
    """The mean of the weights of `live`, in a network of its own."""

    def __init__(self, live: nn.Module, settings: Averaging) -> None:
        self.settings = settings
        self.module = copy.deepcopy(live).requires_grad_(False).eval()
        self.count = 0  # steps (ema) or epochs (swa) that are in the mean beside the first copy

    def after_step(self, live: nn.Module, progress: float) -> None:
        """To be called after each optimizer step; progress counts that step."""
        if self.settings.kind == "ema":
            decay = min(self.settings.decay, (1 + self.count) / (10 + self.count))
            self._take(live, 1 - decay, progress)

    def after_epoch(self, live: nn.Module, progress: float, pictures: Iterable[Tensor]) -> None:
        """To be called after each epoch. pictures: batches of train, read only where the
        statistics are re-estimated, and not while the mean is still a plain copy."""
        if self.settings.kind == "swa":
            self._take(live, 1 / (1 + self.count), progress)
        _copy_buffers(live, self.module)
        if self.settings.batchnorm == "reestimated" and self.count:
            reestimate(self.module, pictures)

    def _take(self, live: nn.Module, share: float, progress: float) -> None:
        started = progress > self.settings.start
        for mean, new in zip(self.module.parameters(), live.parameters(), strict=True):
            mean.data.lerp_(new.data, share if started else 1.0)
        self.count += started

    def state(self) -> dict[str, Any]:
        """All that the mean goes on from."""
        return {"model": self.module.state_dict(), "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.module.load_state_dict(state["model"])
        self.count = state["count"]


@torch.no_grad()
def reestimate(model: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Give every BatchNorm the mean of its statistics over the batches, each counted equally;
    the network is left in eval mode. A network without them is not run at all."""
    norms = [norm for norm in batchnorms(model) if norm.track_running_stats]
    if not norms:
        return
    usual = [norm.momentum for norm in norms]
    model.eval()  # all but the norms: dropout would measure another network
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean in place of a moving one
        norm.train()
    for x in pictures:
        model(x)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    model.eval()


def _copy_buffers(source: nn.Module, target: nn.Module) -> None:
    for ours, theirs in zip(target.buffers(), source.buffers(), strict=True):
        ours.data.copy_(theirs.data)
