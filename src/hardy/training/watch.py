"""What goes wrong in adversarial training, seen while there is still something to save."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Reading a value stops the device until all before it is computed: seldom is enough.
EVERY = 20
# Of the best robust accuracy: below it, a network counts as no longer robust.
SHARE = 0.25


class NotFinite:
    """The first step in which a term of the loss was no number, without waiting for the device
    at each step."""

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def note(self, step: int, values: dict[str, Tensor]) -> None:
        """Look at the values of a step, counted from 0."""
        for name, value in values.items():
            first = self._first.get(name)
            if first is None:
                first = torch.full((), -1, device=value.device)
            self._first[name] = torch.where((first < 0) & ~value.isfinite(), step, first)

    def found(
        self, gather: Callable[[Tensor], Sequence[Tensor]] = lambda tensor: [tensor]
    ) -> tuple[int, list[str]] | None:
        """That step and the terms, or None while all are finite.

        gather: the tensor of every process of a run, so that all of them find the same and
        none waits for one that has ended; then a collective call.
        """
        if not self._first:
            return None
        firsts = [each.tolist() for each in gather(torch.stack(list(self._first.values())))]
        bad = [step for each in firsts for step in each if step >= 0]
        if not bad:
            return None
        terms = zip(self._first, *firsts, strict=True)
        return min(bad), [name for name, *steps in terms if min(bad) in steps]


def collapsed(robust: Sequence[float], clean: Sequence[float], n: int) -> bool:
    """Whether the last epoch has lost its robustness (catastrophic overfitting).

    robust, clean: accuracies on the n validation pictures after each epoch, fractions. True
    where robust accuracy is less than a quarter of its best so far, beyond what n pictures can
    show by chance (three standard errors of the difference of two proportions, pooled), while
    clean accuracy kept at least a quarter of its own best, and at least twice the share that
    robust accuracy kept: a network that lost both merely diverges, and may come back.
    """
    best = max(robust, default=0.0)
    if not robust or robust[-1] >= SHARE * best:
        return False
    kept = robust[-1] / best
    if clean[-1] < max(SHARE, 2 * kept) * max(clean):
        return False
    pooled = (best + robust[-1]) / 2
    return best - robust[-1] > 3 * math.sqrt(2 * pooled * (1 - pooled) / n)
