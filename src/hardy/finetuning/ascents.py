"""Two ways up the adversarial loss inside the ball of one weight (RiFT, algorithm 1).

`Ascent` is our default: one gradient over all pictures a step, normalised to a fixed share of
the weight's norm, projected at every step. `OfficialAscent` is what the authors' code does:
plain SGD over shuffled minibatches, projected once an epoch.

The value of an ascent is the highest loss it has seen, so it only grows: what it has seen after
some of its steps is a lower bound of what all of them show. An ascent that is told what is
`enough` stops at the first step above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.finetuning.passes import Sample, WeightLoss
from hardy.weights import project_relative


@dataclass(frozen=True)
class Climb:
    """How far an ascent came: the weight of the highest loss after a step (the start's, where no
    step was possible), the losses there, the steps it took, and whether these are all."""

    weight: Tensor
    there: Sample
    steps: int
    complete: bool = True


@dataclass(frozen=True)
class Ascent:
    """Full-sample ascent. radius: of the ball, relative to the weight's 2-norm; step: the
    length of a step, likewise; the value is the highest loss seen."""

    radius: float = 0.1
    steps: int = 10
    step: float = 0.025

    def run(
        self, loss: WeightLoss, start: Sample, gradient: Tensor, enough: float = math.inf
    ) -> Climb:
        """From the weight as it is, whose losses and gradient are given: one backward pass
        serves all modules. enough: a rise of the mean loss above which it may stop."""
        origin = loss.weight.detach().clone()
        length = self.step * origin.norm()
        best, weight, rise, guessing = Climb(origin, start, 0), origin, 0.0, True
        for t in range(self.steps):
            norm = gradient.norm()
            if norm == 0:
                return Climb(best.weight, best.there, t)
            weight = project_relative(weight + gradient * (length / norm), origin, self.radius)
            more = t + 1 < self.steps
            # To first order this step is the last, and its gradient would be for nothing.
            last = guessing and rise + float(length * norm) > enough
            here = loss(weight, gradient=more and not last)
            rise = here.mean - start.mean
            if t == 0 or here.mean > best.there.mean:
                best = Climb(weight, here, t + 1)
            if rise > enough:
                return Climb(best.weight, best.there, t + 1, complete=not more)
            guessing = guessing and not last
            if more:
                gradient = (loss(weight, gradient=True) if last else here).gradient
        return Climb(best.weight, best.there, self.steps)


@dataclass(frozen=True)
class OfficialAscent:
    """The authors' procedure: SGD with this lr over shuffled minibatches, the ball imposed
    at each epoch's end, the value the highest loss seen at an epoch's end."""

    radius: float = 0.1
    epochs: int = 10
    lr: float = 1.0
    minibatch: int = 512
    seed: int = 0

    def run(
        self, loss: WeightLoss, start: Sample, gradient: Tensor, enough: float = math.inf
    ) -> Climb:
        """As Ascent.run, an epoch being a step; the shared gradient is of the whole sample and
        serves only where the first minibatch is the whole sample too."""
        origin = loss.weight.detach().clone()
        best, weight = Climb(origin, start, 0), origin
        order = torch.Generator().manual_seed(self.seed)
        for epoch in range(self.epochs):
            rows = torch.randperm(len(loss.y), generator=order).to(loss.y.device)
            for part in rows.split(self.minibatch):
                if epoch or len(part) < len(rows):
                    gradient = loss(weight, gradient=True, rows=part).gradient
                weight = weight + self.lr * gradient
            weight = project_relative(weight, origin, self.radius)
            here = loss(weight)
            if epoch == 0 or here.mean > best.there.mean:
                best = Climb(weight, here, epoch + 1)
            if here.mean - start.mean > enough:
                complete = epoch + 1 == self.epochs
                return Climb(best.weight, best.there, epoch + 1, complete=complete)
        return Climb(best.weight, best.there, self.epochs)
