"""Intervals: how far a number measured on n examples may be from the truth."""

from __future__ import annotations

import math

Z = 1.959963984540054  # 95 %, two-sided


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
