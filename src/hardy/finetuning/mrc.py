"""Module robust criticality (RiFT: Zhu et al., ICCV 2023, definition 3.1 and algorithm 1).

    MRC(theta_i) = max over ||d|| <= r ||theta_i||  of  R(theta + d at i) - R(theta)
    R(theta) = mean CE of theta on the adversarial examples of the unperturbed network

The maximum is sought by gradient ascent on the weight of one convolution or linear map at
a time (`ascents`), and only the part of the network that depends on this weight is run (`suffix`).

To know the k least critical modules alone is cheaper (racing): what an ascent has seen so far is
a lower bound of its value, so a module is out as soon as that lies above k finished values. The
k modules of the lowest gradient times norm are finished first and set the mark; every other one
goes on until it is above the mark, or is finished and lowers it. The k least critical modules and
their values are those of the full measurement, whatever the gradients promised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hardy.evaluation.statistics import mean_interval
from hardy.finetuning.ascents import Ascent, Climb, OfficialAscent
from hardy.finetuning.kept import room_on
from hardy.finetuning.passes import LogitsOf, Sample, WeightLoss, sample_of
from hardy.finetuning.suffix import Suffixes, weight_of
from hardy.memory import Halving
from hardy.modes import autocast, evaluating, forward_in, only_trainable
from hardy.weights import not_finite


@dataclass(frozen=True)
class Criticality:
    """What was measured of one module.

    mrc: nats; interval: 95 %, over pictures, at the worst weight found: it does not hold what
    another path of the ascent would have found, for every ascent gives a lower bound.
    robust_drop: the fall of accuracy on the same adversarial pictures at that weight, a fraction.
    clean_potential: ||g_c|| ||w|| sqrt(1 - cos^2), the first-order clean gain inside the
    relative ball once the part that changes the robust loss is taken out (g_c and g_r the
    clean and robust gradients); conflict: cos(g_c, g_r), negative where they pull apart.
    complete: whether the ascent took all its steps; if not, mrc is a lower bound of what it would
    have found, and interval and robust_drop are those of the weight it had come to. steps: how
    many it took. position: where it stands in the order of execution, to sort by.
    """

    module: str
    mrc: float
    interval: tuple[float, float]
    robust_drop: float
    parameters: int
    clean_potential: float
    conflict: float
    complete: bool = True
    steps: int | None = field(default=None, compare=False)
    position: int = field(default=0, compare=False)


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
    done: Collection[Criticality] = (),
    ascent: Ascent | OfficialAscent | None = None,
    racing: int | None = None,
    precision: str = "fp32",
    batch_size: int = 256,
    cached: bool = True,
    room: int | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Criticality]:
    """The criticality of every module, one at a time, in order of execution.

    x, x_adv: the pictures and their adversarial examples for this network, (N, C, H, W);
    modules: names out of `candidates` (None: all); done: what an earlier run has measured, to
    be passed over. racing: only the so many least critical modules are measured to the end, of
    the others a lower bound is given; those that look least critical come first. precision: of
    the ascent ('fp32', 'bf16'): the losses that are reported are computed in full precision in
    any case, so a race in bf16 is one up to bf16's rounding. cached=False runs the full network
    for every module, for comparison; room: bytes that values which are kept to avoid that may
    take (None: a share of what is free). note: is told what a reader must know.

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

    with evaluating(model), only_trainable(model, frozenset(own[id(w)] for w in weights.values())):
        forward, halving = forward_in(model, x.device, precision), Halving()
        everything = list(weights.values())
        clean, robust = (
            sample_of(
                lambda r, p=p: forward(p[r].clone()), y, everything, batch_size, halving=halving
            )
            for p in (x, x_adv)
        )
        gradients: dict[str, tuple[Tensor, Tensor]] = {}
        for name, g_clean, g_robust in zip(weights, clean.gradients, robust.gradients, strict=True):
            if g_clean is None or g_robust is None:
                note(f"{name} was left out: the output does not depend on it.")
            else:
                gradients[name] = g_clean, g_robust
        suffixes = Suffixes(
            model,
            x_adv,
            list(gradients),
            enabled=cached,
            chunk=batch_size,
            room=room_on(x_adv.device) if room is None else room,
            note=note,
        )
        start = robust
        if precision == "bf16":
            start = sample_of(lambda r: model(x_adv[r].clone()), y, [], batch_size, halving=halving)

        passed = {one.module for one in done}
        race = Race(racing, done)
        for name in race.order(suffixes.order, weights, gradients):
            if name in passed:
                continue
            weight, origin = weights[name], weights[name].detach().clone()
            loss = WeightLoss(name, weight, suffixes.cut(name), y, batch_size, halving)
            try:
                with only_trainable(model, frozenset({own[id(weight)]})):
                    found = _measured(
                        loss,
                        ascent,
                        start,
                        gradients[name],
                        race.enough,
                        precision,
                        suffixes.position[name],
                    )
            finally:
                with torch.no_grad():
                    weight.copy_(origin)
            race.see(found)
            yield found


class Race:
    """Which modules come first, and what is enough to know that a module is not among the so many
    least critical; width None: nothing ever is, and all come in order of execution."""

    def __init__(self, width: int | None, done: Collection[Criticality] = ()) -> None:
        if width is not None and width < 1:
            raise ValueError(f"a race is for one module at least, not {width}")
        self.width = width
        self._finished: list[float] = []
        for one in done:
            self.see(one)

    @property
    def enough(self) -> float:
        """The highest of the lowest `width` finished values, nats."""
        if self.width is None or len(self._finished) < self.width:
            return math.inf
        return self._finished[self.width - 1]

    def see(self, one: Criticality) -> None:
        """Take note of what was measured."""
        if one.complete:
            self._finished = sorted([*self._finished, one.mrc])

    def order(
        self,
        names: Sequence[str],
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, tuple[Tensor, Tensor]],
    ) -> list[str]:
        """Those first, as many as set the mark, whose loss rises least to first order, then the
        rest; each in the order given, so that kept values move through the network once for
        each."""
        if self.width is None:
            return list(names)
        rise = {n: float(gradients[n][1].norm() * weights[n].detach().norm()) for n in names}
        first = set(sorted(names, key=rise.__getitem__)[: self.width])
        return sorted(names, key=lambda name: name not in first)


def _measured(
    loss: WeightLoss,
    ascent: Ascent | OfficialAscent,
    start: Sample,
    gradients: tuple[Tensor, Tensor],
    enough: float,
    precision: str,
    position: int,
) -> Criticality:
    """One ascent, and what is said of where it came to."""
    origin = loss.weight.detach().clone()
    searched = replace(loss, logits_of=_in(precision, loss.logits_of, loss.y.device))
    climb = ascent.run(searched, start, gradients[1], enough)
    there = _exactly(loss, climb, precision)
    if not climb.complete and there.mean - start.mean <= enough:
        # The search in bfloat16 took rounding for a rise: this module is still in the race.
        with torch.no_grad():
            loss.weight.copy_(origin)
        climb = ascent.run(searched, start, gradients[1])
        there = _exactly(loss, climb, precision)
    # The ball holds its centre, and rounding in the search does not take it out.
    worst = there if there.mean > start.mean else start
    return _criticality(loss.name, origin, start, worst, gradients, climb, position)


def _exactly(loss: WeightLoss, climb: Climb, precision: str) -> Sample:
    return loss(climb.weight) if precision == "bf16" else climb.there


def _in(precision: str, logits_of: LogitsOf, device: torch.device) -> LogitsOf:
    def run(rows: slice | Tensor) -> Tensor:
        with autocast(device, precision):
            return logits_of(rows)

    return run


def _criticality(
    name: str,
    weight: Tensor,
    start: Sample,
    worst: Sample,
    gradients: tuple[Tensor, Tensor],
    climb: Climb,
    position: int,
) -> Criticality:
    g_clean, g_robust = gradients
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
        complete=climb.complete,
        steps=climb.steps,
        position=position,
    )
