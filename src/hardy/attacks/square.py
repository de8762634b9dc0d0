"""Square Attack: random squares, kept where a wrong logit gains on the right one. No gradient.

    >>> attack = Square(Linf(8 / 255))
    >>> found = attack.search(model, x, y, draws)

Linf: from vertical stripes of +-eps, each query sets a square window to +-eps, a sign a channel.
L2: from a grid of the paper's eta, two opposite peaks (section 3.3); each query takes the
length out of a second window and puts it, with what is left of the budget, into another eta
over the first one. The window's side is that of a share p of the picture, which is p_init at
first and half of it after 10, 50, 200, 500, 1000, 2000, 4000, … queries.

Source: Andriushchenko, Croce, Flammarion and Hein, Square Attack: a query-efficient black-box
adversarial attack via random search (ECCV 2020), algorithms 1-3. Differences to AutoAttack's
code: windows and signs belong to the example, where that draws one for the whole batch; a
window may also touch the last row and column, which a rounding leaves out there; the start
counts as a query; pictures need not be square.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.attacks.search import Active, Found, must_be_finite
from hardy.attacks.windows import moved, painted, striped, tiled
from hardy.draws import Draws
from hardy.losses import margin
from hardy.modes import Forward
from hardy.threat import L2, Threat

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
BLOCK = 64  # queries whose random numbers are drawn at once


@dataclass(frozen=True, repr=False)
class Square:
    """The setting of the attack.

    queries: forward passes, the start's included. p_init: the share of the picture that the
    first windows cover.

    Raises ValueError for settings out of range, and when the network's logits are not finite.
    """

    threat: Threat
    queries: int = 5000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"queries must be at least 1, not {self.queries}")
        if not 0 < self.p_init <= 1:
            raise ValueError(f"p_init must be a share in (0, 1], not {self.p_init:g}")

    @property
    def setting(self) -> dict[str, str | float | int]:
        """What a measurement must say of it."""
        return {
            "attack": "Square",
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "queries": self.queries,
            "p_init": self.p_init,
        }

    def __repr__(self) -> str:
        return f"Square-{self.queries}({self.threat!r}, p_init={self.p_init:g})"

    @torch.no_grad()
    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        """Attack a batch once; see `search.Attack`."""
        start, move = (tiled, moved) if isinstance(self.threat, L2) else (striped, painted)
        active, eps = Active(x, y, judge), self.threat.eps
        best = start(x, eps, draws)
        logits = forward(best)
        must_be_finite(logits)
        height, largest = margin(logits, y), logits.abs().amax()
        keep, words = active.note(best, logits), draws.index
        if keep is not None:
            best, height = best[keep], height[keep]
        for query in range(self.queries - 1):
            if not len(active):
                break
            if query % BLOCK == 0:
                # A look at every query would hold up the device.
                must_be_finite(largest)
                words = draws.take(active.rows).bits((BLOCK, 5 + x.shape[1]), f"square/{query}")
            trial = move(active.x, best, eps, self._side(query, x), words[:, query % BLOCK])
            logits = forward(trial)
            largest = torch.maximum(largest, logits.abs().amax())
            found = margin(logits, active.y)
            # A misclassified one rises above any that is not; equal ones stay where they are.
            best = torch.where((found > height).view(-1, 1, 1, 1), trial, best)
            height = torch.maximum(height, found)
            keep = active.note(trial, logits)
            if keep is not None:
                best, height, words = best[keep], height[keep], words[keep]
        must_be_finite(largest)
        active.judged_at(best)
        return active.found

    def _side(self, query: int, x: Tensor) -> int:
        """The side of the windows at a query, in pixels; in L2 odd and at least 3, that eta has
        its peaks."""
        height, width = x.shape[2:]
        p = self.p_init / 2 ** bisect_left(HALVINGS, query)
        side = round(math.sqrt(p * height * width))
        side = max(side, 3) | 1 if isinstance(self.threat, L2) else max(side, 1)
        return min(side, height, width)
