"""The first epochs of a run, where they differ from the others: the head alone is trained (linear
probing), and after that the radius grows to its own (warm-up). For any method.

Probing first keeps the features of pre-training from being bent by a head that knows nothing yet
(Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution,
ICLR 2022); the loss is cross-entropy, on the pictures or on attacked ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from hardy.attacks.pgd import PGD
from hardy.methods.protocol import Method


@dataclass(frozen=True)
class Probing:
    """epochs: how many. head: the name of the module that is trained in them, as in
    `named_modules`. method: whose attack and loss it is trained with."""

    epochs: int
    head: str
    method: Method


def keep_gradients_of(module: nn.Module, head: str) -> None:
    """Drop the gradients of all parameters but the head's, so that the optimizer passes the others
    by, weight decay and momentum too. They are computed first, for processes that exchange
    gradients wait for each of them."""
    kept = set(module.get_submodule(head).parameters())
    for parameter in module.parameters():
        if parameter not in kept:
            parameter.grad = None


def grown(attack: PGD, share: float) -> PGD:
    """The attack with that share of its radius and of its steps' length; from 1 on itself."""
    if share >= 1:
        return attack
    threat = replace(attack.threat, eps=share * attack.threat.eps)
    step = None if attack.step_size is None else share * attack.step_size
    return replace(attack, threat=threat, step_size=step)
