"""Arithmetic on weights: relative balls, interpolation, checks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def project_relative(weight: Tensor, origin: Tensor, radius: float) -> Tensor:
    """The nearest point to `weight` in the ball of radius `radius * ||origin||_2` around
    `origin` (the constraint of RiFT's MRC, Zhu et al. 2023, definition 3.1)."""
    delta = weight - origin
    bound = radius * origin.norm()
    length = delta.norm()
    return origin + delta * (bound / length) if length > bound else weight


def interpolate(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) * start + alpha * end, over all of a state dict, BatchNorm buffers too.

    Integer entries (counters) are taken from `start`, except at alpha = 1. The ends come
    back to the bit. Raises ValueError where the two do not have the same keys.
    """
    if start.keys() != end.keys():
        odd = sorted(start.keys() ^ end.keys())
        raise ValueError(f"cannot interpolate between networks that differ in {odd[0]!r}")
    if alpha in (0, 1):
        return {key: value.clone() for key, value in (end if alpha else start).items()}
    return {
        key: torch.lerp(value, end[key], alpha) if value.is_floating_point() else value.clone()
        for key, value in start.items()
    }


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the entries that hold a NaN or an infinity."""
    return [
        name
        for name, value in state.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
