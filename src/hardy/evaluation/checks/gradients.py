"""Whether a network has gradients to its input, and whether they lead anywhere.

Sources: Athalye, Carlini and Wagner, Obfuscated gradients give a false sense of security (ICML
2018); Carlini et al., On evaluating adversarial robustness (2019).

Shapes: x (B, C, H, W) pixels, rightly classified; y int64 (B,).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.draws import Draws
from hardy.evaluation.checks.outputs import logits_of
from hardy.evaluation.results import Finding
from hardy.evaluation.statistics import above
from hardy.losses import cross_entropy, margin
from hardy.memory import Halving
from hardy.modes import Forward
from hardy.threat import Threat

SOME, MANY, ALL = 0.01, 0.1, 0.9
ASTRAY, OFTEN_ASTRAY = 0.1, 0.25
STEP = 0.25  # of the radius: the step of PGD-10


@dataclass(frozen=True)
class Slopes:
    """At each picture: the cross-entropy and the margin, (B,), and both losses' gradients."""

    ce: Tensor
    margin: Tensor
    grad_ce: Tensor
    grad_margin: Tensor

    @property
    def flat(self) -> Tensor:
        """Where the margin has no gradient at all, bool (B,)."""
        return _zero(self.grad_margin)

    @property
    def saturated(self) -> Tensor:
        """Where cross-entropy is exactly zero or has no gradient though the margin has one,
        bool (B,)."""
        return ((self.ce == 0) | _zero(self.grad_ce)) & ~self.flat


def slopes(forward: Forward, x: Tensor, y: Tensor, batch_size: int) -> Slopes | None:
    """Losses and gradients; None where the logits do not depend on x differentiably."""

    @torch.enable_grad()
    def at(rows: Tensor) -> tuple[Tensor, ...] | None:
        part = x[rows].detach().requires_grad_()
        logits = forward(part)
        if not logits.requires_grad:
            return None
        losses = (cross_entropy(logits, y[rows]), margin(logits, y[rows]))
        grads = [
            torch.autograd.grad(loss.sum(), part, retain_graph=True, materialize_grads=True)[0]
            for loss in losses
        ]
        return (*(loss.detach() for loss in losses), *grads)

    found = []
    for _, here in Halving()(torch.arange(len(x), device=x.device).split(batch_size), at):
        if here is None:
            return None
        found.append(here)
    return Slopes(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def no_gradient() -> Finding:
    """The logits do not depend on the picture differentiably: fatal."""
    return Finding(
        "no gradient",
        "fatal",
        "The network lets no gradient through to its input (torch.no_grad, detach or a change to "
        "integers inside): attacks by gradient cannot run. Use --attack square, or give the "
        "network a differentiable form of that layer (BPDA).",
    )


def zero_gradients(at: Slopes) -> Finding | None:
    """Pictures whose margin has the gradient zero: 1 % mild, 10 % serious, 90 % fatal."""
    count, n = int(at.flat.sum()), len(at.ce)
    if count < max(SOME * n, 1):
        return None
    return Finding(
        "zero gradients",
        "fatal" if count >= ALL * n else "serious" if count >= MANY * n else "mild",
        f"The gradient to the input is exactly zero for {count} of {n} pictures, whatever the "
        "loss: a layer rounds, steps or saturates. Attacks by gradient cannot move there: use "
        "--attack square, or attack it with that layer's backward pass replaced by the identity "
        "(BPDA).",
        evidence={"zero": count, "pictures": n},
    )


def saturated_loss(at: Slopes, blind_at_end: Tensor) -> Finding | None:
    """Cross-entropy underflows for 10 % of the pictures: mild; serious where 10 % withstand PGD
    with cross-entropy still saturated, `blind_at_end`, bool (B,)."""
    n, count, blind = len(at.ce), int(at.saturated.sum()), int(blind_at_end.sum())
    if max(count, blind) < max(MANY * n, 1):
        return None
    return Finding(
        "saturated loss",
        "serious" if blind >= MANY * n else "mild",
        f"Cross-entropy is flat in float32 for {count} of {n} pictures (the right logit leads by "
        f"{-float(at.margin.median()):.3g} in the median), and for {blind} it is so where PGD "
        "ends without success: PGD on cross-entropy is blind there. Use --attack cw or "
        "autoattack, whose losses do not depend on the scale of the logits.",
        evidence={
            "saturated": count,
            "after_pgd": blind,
            "pictures": n,
            "median_margin": -float(at.margin.median()),
        },
    )


def misleading_gradients(
    forward: Forward,
    x: Tensor,
    y: Tensor,
    at: Slopes,
    threat: Threat,
    draws: Draws,
    batch_size: int,
) -> Finding | None:
    """A step of PGD-10 along the gradient raises the margin less than one in a random direction,
    for more than 10 % of the pictures: mild, serious for more than 25 %."""
    noise = draws.normal(x.shape[1:], "preflight/direction", x.dtype)
    after = []
    for direction in (at.grad_margin, noise):
        step = STEP * threat.eps * threat.steepest(direction)
        x_moved = threat.project(x + step, x)
        parts = logits_of(forward, x_moved, batch_size)
        after.append(margin(parts, y))
    along, random = after
    counted = ~at.flat & (along != random)
    n, worse = int(counted.sum()), int((counted & (along < random)).sum())
    if not above(worse, n, ASTRAY):
        return None
    return Finding(
        "misleading gradients",
        "serious" if above(worse, n, OFTEN_ASTRAY) else "mild",
        f"For {worse} of {n} pictures a step along the gradient does the network less harm than "
        f"one in a random direction: gradients do not say what happens {STEP:g} eps away "
        "(shattered). Attacks by gradient find too little: use --attack square or autoattack, "
        "and an attack made for this network.",
        evidence={"worse": worse, "pictures": n},
    )


def _zero(grad: Tensor) -> Tensor:
    return grad.flatten(1).eq(0).all(1)
