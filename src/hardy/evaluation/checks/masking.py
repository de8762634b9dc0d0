"""Attacks compared: one that knows less must not find more, and a large ball must break all.

Sources: Athalye, Carlini and Wagner (ICML 2018), section 3.1; Carlini et al., On evaluating
adversarial robustness (2019).

Shapes: x (B, C, H, W) pixels, rightly classified; y int64 (B,); broken bool (B,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hardy.attacks.apgd import APGD
from hardy.attacks.pgd import PGD
from hardy.attacks.search import Attack, Found
from hardy.attacks.square import Square
from hardy.data.loader import Batch
from hardy.evaluation.results import Finding
from hardy.evaluation.statistics import above
from hardy.memory import Halving
from hardy.modes import Forward
from hardy.threat import L2, Threat

AT_MOST, QUERIES = 64, 200
FEW, SOME = 0.02, 0.1
LEFT, MANY_LEFT = 0.05, 0.25
REACH = 0.5  # from anywhere in the box to grey


def attacked(
    attack: Attack, forward: Forward, batch: Batch, batch_size: int, judge: Forward | None
) -> Found:
    """The attack on a batch of any size, part by part; see `search.Attack`."""
    rows = torch.arange(len(batch), device=batch.y.device).split(batch_size)
    parts = [batch.take(part) for part in rows]
    found = Halving()(parts, lambda b: attack.search(forward, b.x, b.y, b.draws, judge))
    each = [(f.x_adv, f.broken) for _, f in found]
    return Found(*(torch.cat(several) for several in zip(*each, strict=True)))


def single_step_wins(by_fgsm: Tensor, by_pgd: Tensor) -> Finding | None:
    """FGSM breaks more of the pictures than PGD-10: serious."""
    only_one, only_many = int((by_fgsm & ~by_pgd).sum()), int((by_pgd & ~by_fgsm).sum())
    if not above(only_one, only_one + only_many, 0.5):
        return None
    return Finding(
        "single step wins",
        "serious",
        f"FGSM breaks {int(by_fgsm.sum())} of {len(by_pgd)} pictures and PGD-10 only "
        f"{int(by_pgd.sum())}: more steps must not find less, so the gradients are masked. "
        "Use --attack autoattack, and an attack made for this network.",
        evidence={
            "fgsm": int(by_fgsm.sum()),
            "pgd": int(by_pgd.sum()),
            "only_fgsm": only_one,
            "only_pgd": only_many,
            "pictures": len(by_pgd),
        },
    )


def black_box_wins(
    forward: Forward, standing: Batch, threat: Threat, batch_size: int, judge: Forward | None
) -> Finding | None:
    """Square Attack's 200 queries break more than 2 % of what withstood PGD-10 (64 pictures at
    most): mild, more than 10 % serious."""
    square, some = Square(threat, queries=QUERIES), standing.take(slice(0, AT_MOST))
    found = attacked(square, forward, some, batch_size, judge)
    return _wins("black box wins", f"Square Attack with {QUERIES} queries", found.broken)


def transfer_wins(name: str, broken: Tensor) -> Finding | None:
    """Examples made on another network break more than 2 % of what withstood PGD-10: mild, more
    than 10 % serious. broken: of those that withstood it."""
    return _wins("transfer wins", f"PGD-10 on the gradients of {name}", broken)


def stands_at_large_radius(
    forward: Forward, some: Batch, threat: Threat, batch_size: int, judge: Forward | None
) -> Finding | None:
    """More than 5 % of the pictures withstand PGD-20 and APGD-20 in a ball in which every picture
    can be turned grey: mild, more than 25 % serious."""
    radius = REACH * (math.sqrt(some.x[0].numel()) if isinstance(threat, L2) else 1)
    large = type(threat)(radius)
    attacks: Sequence[Attack] = (PGD(large, steps=20), APGD(large, steps=20))
    some = some.take(slice(0, AT_MOST))
    n = len(some)
    for attack in attacks:
        if len(some):
            some = some.take(~attacked(attack, forward, some, batch_size, judge).broken)
    if not above(len(some), n, LEFT):
        return None
    return Finding(
        "stands at a large radius",
        "serious" if above(len(some), n, MANY_LEFT) else "mild",
        f"At the radius {radius:.3g}, where any picture can be turned grey, {len(some)} of {n} "
        "withstand PGD-20 and APGD-20: no network can be robust there, the attacks fail. Use "
        "--attack autoattack, with square in it, before smaller radii are believed.",
        evidence={"standing": len(some), "pictures": n, "eps": radius},
    )


def _wins(check: str, attack: str, broken: Tensor) -> Finding | None:
    hits, n = int(broken.sum()), len(broken)
    if not above(hits, n, FEW):
        return None
    return Finding(
        check,
        "serious" if above(hits, n, SOME) else "mild",
        f"{attack} breaks {hits} of {n} pictures that withstand PGD-10 on the network's own "
        "gradients, which knows more: a sign of masked gradients. Use --attack autoattack.",
        evidence={"broken": hits, "pictures": n},
    )
