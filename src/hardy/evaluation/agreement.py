"""Whether another form of a network computes what the network does: an exported file, say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.statistics import wilson
from hardy.modes import Forward, without_tf32

DIFFERENCE = "logit difference"
SAME = "same predictions"


@dataclass(frozen=True)
class Agreement:
    """How far the logits of two forms of a network lie apart on some pictures.

    difference: the largest of all, absolute. spread: the standard deviation of the network's own
    logits, over pictures and classes. same: which pictures both take for the same class, bool (N,).
    """

    difference: float
    spread: float
    same: Tensor

    @property
    def relative(self) -> float:
        """The difference as a share of the spread."""
        if self.difference == 0:
            return 0.0
        return self.difference / self.spread if self.spread else math.inf

    def within(self, tolerance: float) -> bool:
        """Whether the relative difference is that small; one that is no number is not."""
        return self.relative <= tolerance


@torch.no_grad()
@without_tf32()
def agreement(logits: Tensor, other: Forward, x: Tensor, batch_size: int) -> Agreement:
    """Compare `logits`, (N, K), which the network gives of x, with what the other form gives of
    it in batches of that size. Raises ValueError where that is of another shape."""
    parts = [other(part).to(logits.device, logits.dtype) for part in x.split(batch_size)]
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    if shape != logits.shape:
        raise ValueError(f"it gives logits of shape {shape}, the network of {(*logits.shape,)}")
    theirs = torch.cat(parts)
    difference = (theirs.double() - logits.double()).abs().amax()
    spread = logits.double().std(correction=0)
    return Agreement(float(difference), float(spread), theirs.argmax(1) == logits.argmax(1))


def agreements(
    found: Agreement, split: str, subject: str, setting: dict[str, Scalar]
) -> list[Measurement]:
    """The largest difference and the share of the same predictions as measurements."""
    hits, n = int(found.same.sum()), len(found.same)
    apart: dict[str, Scalar] = {"relative": found.relative, "spread": found.spread}
    return [
        Measurement(
            DIFFERENCE,
            found.difference,
            split,
            n,
            subject,
            no_interval="the largest of all logits that were compared",
            setting={**setting, **apart},
        ),
        Measurement(SAME, hits / n, split, n, subject, interval=wilson(hits, n), setting=setting),
    ]
