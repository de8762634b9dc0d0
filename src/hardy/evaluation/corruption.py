"""Accuracy under common corruptions: of each type and severity, and their means.

The mean is over accuracies of single corruptions and severities (a cell each), as CIFAR-10-C
is reported; its interval is over pictures, whose cells are not independent of each other.

Source: Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions
and perturbations (ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from hardy.data.corruptions import EXTRA, FAMILIES, SEVERITIES, STANDARD
from hardy.data.splits import Split
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import accuracy, rightly
from hardy.evaluation.statistics import mean_share, paired_means
from hardy.modes import Forward

# Of one network: by corruption, and there by severity, who is right; bool (N,).
Right = Mapping[str, Mapping[int, Tensor]]

GROUPS = {"standard": STANDARD, "extra": EXTRA, "all": (*STANDARD, *EXTRA)}


def named(words: Sequence[str]) -> list[str]:
    """The corruptions that words name: themselves, or 'standard', 'extra' or 'all'.

    Raises ValueError for a word that is neither.
    """
    found: dict[str, None] = {}
    for word in words:
        if word not in FAMILIES and word not in GROUPS:
            raise ValueError(
                f"no corruption {word!r}: there are {', '.join(GROUPS)}, {', '.join(FAMILIES)}"
            )
        found |= dict.fromkeys(GROUPS.get(word, (word,)))
    return list(found)


def under_corruption(
    forwards: Sequence[Forward],
    make: Callable[[str, int], Split],
    name: str,
    severities: Sequence[int],
    batch_size: int = 256,
    on_pictures: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Which pictures each network gets right under a corruption, bool (networks, severities, N).

    make: the corrupted split of a name and a severity, made once for all networks, which are in
    eval mode. on_pictures: called with the number of pictures just classified.
    """
    found = []
    for severity in severities:
        split = make(name, severity)
        found.append(torch.stack([rightly(forward, split, batch_size) for forward in forwards]))
        on_pictures(len(split) * len(forwards))
    return torch.stack(found, 1)


def accuracies_under(
    right: Right, split: str, subject: str, setting: Mapping[str, Scalar]
) -> list[Measurement]:
    """The accuracy of every cell, with Wilson intervals."""
    found = []
    for name, by_severity in right.items():
        about = {"corruption": name, "family": FAMILIES[name], "standard": name in STANDARD}
        for severity, hits in by_severity.items():
            cell = {**about, "severity": severity, **setting}
            found.append(accuracy("corruption accuracy", hits, split, subject, cell))
    return found


def scores(right: Right) -> dict[str, Tensor]:
    """The share of its cells that each picture is right in, float64 (N,), of the standard 15,
    of each family and severity in them, and of the extra 4, where all cells were measured."""
    parts = {"standard 15": STANDARD}
    for name in STANDARD:
        parts[FAMILIES[name]] = (*parts.get(FAMILIES[name], ()), name)
    cells = {of: [(name, s) for name in names for s in SEVERITIES] for of, names in parts.items()}
    cells["extra 4"] = [(name, s) for name in EXTRA for s in SEVERITIES]
    for severity in SEVERITIES:
        cells[f"severity {severity}"] = [(name, severity) for name in STANDARD]
    return {
        of: torch.stack([right[name][s] for name, s in members]).double().mean(0)
        for of, members in cells.items()
        if all(name in right and s in right[name] for name, s in members)
    }


def mean_accuracies(
    right: Right, split: str, subject: str, setting: Mapping[str, Scalar]
) -> list[Measurement]:
    """Mean corruption accuracies, with intervals over the pictures."""
    means = {of: (len(share), mean_share(share)) for of, share in scores(right).items()}
    return _measured("mean corruption accuracy", means, split, subject, setting)


def mean_gains(
    before: Right, after: Right, split: str, subject: str, setting: Mapping[str, Scalar]
) -> list[Measurement]:
    """The differences of the means after − before, paired by picture."""
    old = scores(before)
    new = scores(after).items()
    means = {of: (len(share), paired_means(old[of], share)) for of, share in new}
    return _measured("mean corruption accuracy gain", means, split, subject, setting)


def _measured(
    quantity: str,
    means: Mapping[str, tuple[int, tuple[float, tuple[float, float]]]],
    split: str,
    subject: str,
    setting: Mapping[str, Scalar],
) -> list[Measurement]:
    return [
        Measurement(quantity, mean, split, n, subject, interval, setting={"of": of, **setting})
        for of, (n, (mean, interval)) in means.items()
    ]
