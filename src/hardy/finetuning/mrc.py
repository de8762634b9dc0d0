"""Module robust criticality (RiFT: Zhu et al., ICCV 2023, definition 3.1 and algorithm 1).

    MRC(theta_i) = max over ||d|| <= r ||theta_i||  of  R(theta + d at i) - R(theta)
    R(theta) = mean CE of theta on the adversarial examples of the unperturbed network

The maximum is sought by gradient ascent on the weight of one convolution or linear map at
a time. `Ascent` is our default: one gradient over all pictures a step, normalised to a
fixed share of the weight's norm, projected at every step. `OfficialAscent` is what the
authors' code does: plain SGD over shuffled minibatches, projected once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardy.evaluation.statistics import mean_interval
from hardy.finetuning.suffix import LogitsOf, Suffixes, weight_of
from hardy.losses import cross_entropy
from hardy.modes import autocast, evaluating, forward_in, only_trainable
from hardy.weights import not_finite, project_relative


@dataclass(frozen=True)
class Ascent:
    """Full-sample ascent. radius: of the ball, relative to the weight's 2-norm; step: the
    length of a step, likewise; the value is the highest loss seen."""

    radius: float = 0.1
    steps: int = 10
    step: float = 0.025

    def run(self, loss: WeightLoss, start: Sample, gradient: Tensor) -> tuple[Tensor, Sample]:
        """The weight of the highest loss seen, and the losses there. The gradient at the
        start is given: one backward pass serves all modules."""
        origin = loss.weight.detach().clone()
        length = self.step * origin.norm()
        best, weight = (origin, start), origin
        for t in range(self.steps):
            norm = gradient.norm()
            if norm == 0:
                break
            weight = project_relative(weight + gradient * (length / norm), origin, self.radius)
            here = loss(weight, gradient=t + 1 < self.steps)
            if here.mean > best[1].mean:
                best = (weight, here)
            if here.gradients:
                gradient = here.gradient
        return best


@dataclass(frozen=True)
class OfficialAscent:
    """The authors' procedure: SGD with this lr over shuffled minibatches, the ball imposed
    at each epoch's end, the value the highest loss seen at an epoch's end."""

    radius: float = 0.1
    epochs: int = 10
    lr: float = 1.0
    minibatch: int = 512
    seed: int = 0

    def run(self, loss: WeightLoss, start: Sample, gradient: Tensor) -> tuple[Tensor, Sample]:
        """As Ascent.run; the shared gradient is of the whole sample and serves only where
        the first minibatch is the whole sample too."""
        origin = loss.weight.detach().clone()
        best, weight = (origin, start), origin
        order = torch.Generator().manual_seed(self.seed)
        for epoch in range(self.epochs):
            rows = torch.randperm(len(loss.y), generator=order).to(loss.y.device)
            for part in rows.split(self.minibatch):
                if epoch or len(part) < len(rows):
                    gradient = loss(weight, gradient=True, rows=part).gradient
                weight = weight + self.lr * gradient
            weight = project_relative(weight, origin, self.radius)
            here = loss(weight)
            if here.mean > best[1].mean:
                best = (weight, here)
        return best


@dataclass(frozen=True)
class Sample:
    """What one pass over pictures gave: each one's loss, whether it is classified rightly,
    and the gradients of the mean loss (None for a weight without influence)."""

    losses: Tensor
    correct: Tensor
    gradients: tuple[Tensor | None, ...] = ()

    @property
    def mean(self) -> float:
        """In double precision: an ascent of a hair must not come out as a fall."""
        return float(self.losses.double().mean())

    @property
    def gradient(self) -> Tensor:
        """The gradient of the only weight it was taken to."""
        (gradient,) = self.gradients
        assert gradient is not None, "a module without influence is left out before"
        return gradient


@dataclass(frozen=True)
class WeightLoss:
    """The adversarial loss as a function of one weight, on fixed pictures."""

    name: str
    weight: nn.Parameter
    logits_of: LogitsOf
    y: Tensor
    batch_size: int

    def __call__(
        self, value: Tensor, *, gradient: bool = False, rows: Tensor | None = None
    ) -> Sample:
        with torch.no_grad():
            self.weight.copy_(value)
        wanted = [self.weight] if gradient else []
        here = _sample(self.logits_of, self.y, wanted, self.batch_size, rows)
        if not math.isfinite(here.mean):
            raise ValueError(
                f"the loss of {self.name} is {here.mean} inside the ball: its criticality "
                "cannot be measured; try --precision fp32, or leave it out with --modules"
            )
        return here


@dataclass(frozen=True)
class Criticality:
    """What was measured of one module.

    mrc: nats; interval: 95 %, over pictures, at the worst weight found: it does not hold what
    another path of the ascent would have found, for every ascent gives a lower bound.
    robust_drop: the fall of accuracy on the same adversarial pictures at that weight, a fraction.
    clean_potential: ||g_c|| ||w|| sqrt(1 - cos^2), the first-order clean gain inside the
    relative ball once the part that changes the robust loss is taken out (g_c and g_r the
    clean and robust gradients); conflict: cos(g_c, g_r), negative where they pull apart.
    """

    module: str
    mrc: float
    interval: tuple[float, float]
    robust_drop: float
    parameters: int
    clean_potential: float
    conflict: float


def candidates(model: nn.Module) -> list[str]:
    """The names of all weights MRC is measured of: convolutions, linear maps, and
    attention's input projection (there the parameter's own name, `….in_proj_weight`)."""
    names = []
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            names.append(name)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            names.append(f"{name}.in_proj_weight".lstrip("."))
    return names


def mrc(
    model: nn.Module,
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    *,
    modules: Sequence[str] | None = None,
    done: Collection[str] = (),
    ascent: Ascent | OfficialAscent | None = None,
    precision: str = "fp32",
    batch_size: int = 256,
    cached: bool = True,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Criticality]:
    """The criticality of every module, one at a time, in order of execution.

    x, x_adv: the pictures and their adversarial examples for this network, (N, C, H, W);
    modules: names out of `candidates` (None: all); done: names to pass over, because an
    earlier run measured them; precision: of the ascent ('fp32', 'bf16'): the losses that
    are reported are computed in full precision in any case. cached=False runs the full
    network for every module, for comparison. note: is told what a reader must know.

    The network is in eval mode meanwhile; modes and weights are as before once the iterator
    is exhausted or closed. Raises ValueError where a loss is not finite, naming the module:
    a NaN must not look uncritical.
    """
    ascent = ascent or Ascent()
    if len(y) < 2:
        raise ValueError(f"criticality needs at least two pictures, not {len(y)}")
    broken = not_finite(model.state_dict())
    if broken:
        raise ValueError(f"the network's weights hold NaN or infinity, first in {broken[0]!r}")
    weights = {n: weight_of(model, n) for n in (candidates(model) if modules is None else modules)}
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    forward = forward_in(model, x.device, precision)

    with evaluating(model), only_trainable(model, frozenset(own[id(w)] for w in weights.values())):
        every = list(weights.values())
        clean = _sample(lambda rows: forward(x[rows].clone()), y, every, batch_size)
        robust = _sample(lambda rows: forward(x_adv[rows].clone()), y, every, batch_size)
        gradients = dict(
            zip(weights, zip(clean.gradients, robust.gradients, strict=True), strict=True)
        )
        for name in (n for n, (_, g) in gradients.items() if g is None):
            note(f"{name} was left out: the output does not depend on it.")
            del weights[name]
        with autocast(x.device, precision):
            suffixes = Suffixes(
                model, x_adv, list(weights), enabled=cached, chunk=batch_size, note=note
            )

        def exact() -> Sample:
            return _sample(lambda rows: model(x_adv[rows].clone()), y, [], batch_size)

        start = exact() if precision == "bf16" else robust
        for name in (n for n in suffixes.order if n not in done):
            with autocast(x.device, precision):
                logits_of = suffixes.cut(name)

            def in_precision(rows: slice | Tensor, run: LogitsOf = logits_of) -> Tensor:
                with autocast(x.device, precision):
                    return run(rows)

            weight, origin = weights[name], weights[name].detach().clone()
            g_clean, g_robust = gradients[name]
            assert g_clean is not None and g_robust is not None, "left out above"
            try:
                loss = WeightLoss(name, weight, in_precision, y, batch_size)
                with only_trainable(model, frozenset({own[id(weight)]})):
                    worst, there = ascent.run(loss, robust, g_robust)
                if precision == "bf16":
                    with torch.no_grad():
                        weight.copy_(worst)
                    # Rounding in the search must not put the maximum below its starting point.
                    found = exact()
                    there = start if found.mean < start.mean else found
            finally:
                with torch.no_grad():
                    weight.copy_(origin)
            yield _criticality(name, origin, start, there, g_clean, g_robust)


def _criticality(
    name: str, weight: Tensor, start: Sample, worst: Sample, g_clean: Tensor, g_robust: Tensor
) -> Criticality:
    rise = worst.losses.double() - start.losses.double()
    value = worst.mean - start.mean
    norms = float(g_clean.norm() * g_robust.norm())
    cosine = float((g_clean * g_robust).sum()) / norms if norms else 0.0
    sine = math.sqrt(max(0.0, 1 - cosine**2))
    return Criticality(
        module=name,
        mrc=value,
        interval=mean_interval(value, float(rise.std()), len(rise)),
        robust_drop=float(start.correct.double().mean() - worst.correct.double().mean()),
        parameters=weight.numel(),
        clean_potential=float(g_clean.norm() * weight.norm()) * sine,
        conflict=cosine,
    )


def _sample(
    logits_of: LogitsOf,
    y: Tensor,
    weights: list[nn.Parameter],
    batch_size: int,
    rows: Tensor | None = None,
) -> Sample:
    """Losses, and gradients of their mean to `weights`, of all pictures or of some rows."""
    count = len(y) if rows is None else len(rows)
    losses: list[Tensor] = []
    correct: list[Tensor] = []
    sums: list[Tensor | None] = [None] * len(weights)
    for i in range(0, count, batch_size):
        part = slice(i, i + batch_size) if rows is None else rows[i : i + batch_size]
        with torch.set_grad_enabled(bool(weights)):
            logits = logits_of(part)
            values = cross_entropy(logits, y[part])
        if weights:
            grads = torch.autograd.grad(values.sum() / count, weights, allow_unused=True)
            sums = [
                g if s is None else s if g is None else s + g
                for s, g in zip(sums, grads, strict=True)
            ]
        losses.append(values.detach())
        correct.append(logits.detach().argmax(1) == y[part])
    return Sample(torch.cat(losses), torch.cat(correct), tuple(sums))
