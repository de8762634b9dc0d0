"""Whether a network and these pictures belong together: its classes, its pixels, chance.

A wrong order of classes or a wrong normalisation makes an honest network look weak, and what an
attack finds of it means nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hardy.evaluation.checks.outputs import logits_of
from hardy.evaluation.results import Finding, Grade
from hardy.evaluation.statistics import above
from hardy.models.normalize import PUBLISHED, Normalize, Statistics, spec_of
from hardy.modes import Forward

LEAST_GAIN = 0.1
FEWEST = 50


def rightly_paired(logits: Tensor, y: Tensor) -> Tensor:
    """Which pictures are right where outputs are paired with labels as it fits best, bool (N,).

    The pairing is the best assignment of one half's confusion matrix (Kuhn 1955) and is judged
    on the other half, both ways: on its own half it would be right by luck.
    """
    said, k = logits.argmax(1), logits.shape[1]
    first = torch.zeros_like(y, dtype=torch.bool)
    first[y.argsort(stable=True)[::2]] = True  # half of each class
    paired = torch.zeros_like(first)
    for half in (first, ~first):
        paired[~half] = _assignment(y[half], said[half], k)[y[~half]] == said[~half]
    return paired


def permuted_labels(logits: Tensor, y: Tensor, paired: Tensor) -> Finding | None:
    """Another pairing of labels and outputs, as judged by `rightly_paired`, is right more often:
    serious, fatal where at least twice as often."""
    said, k = logits.argmax(1), logits.shape[1]
    right = said == y
    if not _better(right, paired):
        return None
    pairs = _assignment(y, said, k)
    labels = y.unique().tolist()
    shifts = {(int(pairs[c]) - c) % k for c in labels}
    if len(shifts) == 1:
        how = f"output = label + {shifts.pop()}, modulo {k}"
    else:
        moved = [c for c in labels if pairs[c] != c]
        how = ", ".join(f"label {c} is output {int(pairs[c])}" for c in moved[:4])
        how += ", …" if len(moved) > 4 else ""
    return Finding(
        "labels do not match",
        _grade(right, paired),
        f"The network is right on {_of(right)} pictures, but on {_of(paired)} if its outputs are "
        f"paired with other labels ({how}; found on one half, counted on the other): data and "
        "network number the classes differently. Put them in one order before anything is "
        "measured.",
        evidence={"right": int(right.sum()), "permuted": int(paired.sum()), "pairs": how},
    )


def other_pixels(
    forward: Forward, x: Tensor, y: Tensor, logits: Tensor, beyond: int, batch_size: int
) -> Finding | None:
    """With another normalisation, or with one taken off, the network is right more often, and on
    more than `beyond` pictures: serious, fatal where at least twice as often."""
    right = logits.argmax(1) == y
    best, finding = max(int(right.sum()), beyond), None
    for spec, statistics in _candidates(x.shape[1]).items():
        layer = Normalize(*statistics).to(x.device)
        undone = (f"undone ({spec})", "none", x * layer.std + layer.mean)
        for how, advice, pixels in ((spec, spec, layer(x)), undone):
            now = logits_of(forward, pixels, batch_size).argmax(1) == y
            if int(now.sum()) > best and _better(right, now):
                best = int(now.sum())
                finding = Finding(
                    "pixel range",
                    _grade(right, now),
                    f"The network is right on {_of(right)} pictures, but on {_of(now)} with the "
                    f"normalisation {how}: it was trained on other pixels than it is given. Try "
                    f"--normalize {advice}.",
                    evidence={"right": int(right.sum()), "otherwise": best, "normalize": advice},
                )
    return finding


def at_chance(logits: Tensor, y: Tensor) -> Finding | None:
    """On 50 pictures or more it is not right more often than always naming the commonest class:
    fatal."""
    right = logits.argmax(1) == y
    commonest = int(y.bincount().max())
    if commonest == len(y):  # a class alone tells nothing
        return None
    if len(y) < FEWEST or above(int(right.sum()), len(y), commonest / len(y)):
        return None
    return Finding(
        "accuracy at chance",
        "fatal",
        f"The network is right on {_of(right)} pictures; always naming one class is right on "
        f"{commonest}. There is no accuracy that an attack could take: look at its weights, and "
        "whether it belongs to this data.",
        evidence={"right": int(right.sum()), "commonest": commonest, "pictures": len(y)},
    )


def _assignment(y: Tensor, said: Tensor, k: int) -> Tensor:
    """Which output each label is paired with, int64 (K,): most hits, itself where they tie."""
    from scipy.optimize import linear_sum_assignment  # takes long to import, and is seldom needed

    hits = torch.bincount(y * k + said, minlength=k * k).view(k, k).cpu().double().numpy()
    _, pairs = linear_sum_assignment(hits + 0.5 / k * np.eye(k), maximize=True)
    return torch.as_tensor(pairs, device=y.device)


def _better(right: Tensor, other: Tensor) -> bool:
    gained, lost = int((other & ~right).sum()), int((right & ~other).sum())
    return gained - lost >= LEAST_GAIN * len(right) and above(gained, gained + lost, 0.5)


def _grade(right: Tensor, other: Tensor) -> Grade:
    return "fatal" if other.sum() >= 2 * right.sum() else "serious"


def _candidates(channels: int) -> dict[str, Statistics]:
    """Normalisations by their spec on the command line: the published ones, pixels from 0 to 255
    and from -1 to 1."""
    found = [s for s in PUBLISHED.values() if s is not None and len(s[0]) == channels]
    found += [((0.0,) * channels, (1 / 255,) * channels), ((0.5,) * channels, (0.5,) * channels)]
    if channels == 1:
        found.append(((0.1307,), (0.3081,)))
    return {spec_of(*statistics): statistics for statistics in found}


def _of(right: Tensor) -> str:
    return f"{int(right.sum())} of {len(right)}"
