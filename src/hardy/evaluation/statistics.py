"""Intervals: how far a number measured on n examples may be from the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

Z = 1.959963984540054  # 95 %, two-sided

# SciPy's special functions are imported where a number needs them: they take as long as a third
# of all of ours, and no first step waits for them.


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion, hits of n (Wilson 1927).

    Raises ValueError where n is 0 or hits not in 0..n.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"no proportion: {hits} of {n}")
    share, z2 = hits / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired(gained: int, lost: int, n: int) -> tuple[float, float]:
    """95 % interval of the difference of two proportions on the same n examples, of which
    `gained` are right only after and `lost` only before: Wald's with one example added to
    each of those counts (Bonett and Price 2012), which keeps its level on few examples.

    Raises ValueError where the counts do not fit n.
    """
    if n < 1 or min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"no paired difference: {gained} gained and {lost} lost of {n}")
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def mean_interval(mean: float, std: float, n: int) -> tuple[float, float]:
    """95 % interval of a mean over n examples with that sample standard deviation, by the
    normal limit; for the hundreds of pictures of a measurement, not for a few seeds."""
    half = Z * std / math.sqrt(n)
    return mean - half, mean + half


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact two-sided p of the counts of a paired comparison: of the examples that
    changed, as many are right only after as only before (McNemar 1947, by the binomial).

    1.0 where none changed. Raises ValueError where a count is negative.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"no counts of a comparison: {gained} gained and {lost} lost")
    if gained == lost:
        return 1.0  # twice the tail would count the middle twice
    from scipy import special

    return min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))


def above(hits: int, n: int, share: float, level: float = 0.01) -> bool:
    """Whether hits of n lie above a share by more than chance: one-sided exact binomial test
    at that level. False where n is 0."""
    from scipy import special

    return hits > 0 and float(special.bdtrc(hits - 1, n, share)) < level


def over_seeds(values: Sequence[float]) -> tuple[float, float, tuple[float, float]]:
    """Mean, sample standard deviation and the mean's 95 % t interval, of one quantity of
    networks that differ in their seed.

    Raises ValueError for fewer than 2 values.
    """
    k = len(values)
    if k < 2:
        raise ValueError(f"a spread over seeds needs at least 2 networks, not {k}")
    from scipy import special

    mean = math.fsum(values) / k
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (k - 1))
    half = float(special.stdtrit(k - 1, 0.975)) * std / math.sqrt(k)
    return mean, std, (mean - half, mean + half)


def mean_share(shares: Tensor) -> tuple[float, tuple[float, float]]:
    """The mean of a share of each picture, fractions (N,), and its 95 % interval over the
    pictures: by the normal limit, by Wilson's where they have no spread.

    Raises ValueError where there is none.
    """
    if shares.ndim != 1 or not len(shares):
        raise ValueError(f"no shares of pictures: shape {tuple(shares.shape)}, not (N,)")
    mean, n = float(shares.double().mean()), len(shares)
    std = float(shares.double().std()) if n > 1 else 0.0
    low, high = mean_interval(mean, std, n) if std else wilson(round(mean * n), n)
    return mean, (max(0.0, low), min(1.0, high))


def paired_means(before: Tensor, after: Tensor) -> tuple[float, tuple[float, float]]:
    """The mean difference after - before of scores of the same pictures, fractions (N,), and
    its 95 % interval over the pictures; that of a single picture is [-1, 1].

    Raises ValueError where the scores are not those of as many pictures, or of none.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
        raise ValueError(f"no paired scores: shapes {shapes}, not (N,) twice")
    difference = after.double() - before.double()
    mean, n = float(difference.mean()), len(difference)
    if n == 1:
        return mean, (-1.0, 1.0)
    low, high = mean_interval(mean, float(difference.std()), n)
    if low == high:  # no spread among so many is no certainty: as of a count in which none changed
        half = paired(0, 0, n)[1]
        low, high = mean - half, mean + half
    return mean, (max(-1.0, low), min(1.0, high))
