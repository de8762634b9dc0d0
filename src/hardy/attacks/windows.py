"""The starts and moves of Square Attack in both norms: what it writes into square windows.

Linf (algorithm 2): every pixel stands at +-eps; a move sets a window to +-eps, one sign a
channel. L2 (algorithm 3): a move takes the length out of a window `there`, and with it, the
window's own and what the ball still spares, writes another eta `here`: two opposite peaks, which
fall off in square rings (section 3.3), across or upright.

Shapes: x, best (B, C, H, W); bits (B, 5 + C) random words of each example: the corners of both
windows, eta's orientation, a sign a channel.

Source: Andriushchenko, Croce, Flammarion and Hein, Square Attack (ECCV 2020).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from hardy.draws import Draws

TINY = 1e-12


def striped(x: Tensor, eps: float, draws: Draws) -> Tensor:
    """The start in Linf: vertical stripes of +-eps in each channel, inside the box."""
    bits = draws.bits((x.shape[1], 1, x.shape[3]), "square/start")
    return (x + eps * _signs(bits, x.dtype)).clamp(0, 1)


def painted(x: Tensor, best: Tensor, eps: float, side: int, bits: Tensor) -> Tensor:
    """A move in Linf: one window of `best` set to +-eps."""
    colour = _signs(bits[:, 5:, None, None], x.dtype)
    return torch.where(_window(bits[:, :2], side, x), (x + eps * colour).clamp(0, 1), best)


def tiled(x: Tensor, eps: float, draws: Draws) -> Tensor:
    """The start in L2: a grid of eta, about five a side, of Euclidean length eps, cut by the
    box."""
    (_, channels, height, width), side = x.shape, max(min(x.shape[2:]) // 5, 1)
    rows, columns = height // side, width // side
    bits = draws.bits((1 + channels, rows, columns), "square/start")
    tiles = eta(side, x.dtype, x.device)[bits[:, :1] >> 31]
    tiles = tiles * _signs(bits[:, 1:, ..., None, None], x.dtype)
    delta = torch.zeros_like(x)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    delta[:, :, top : top + rows * side, left : left + columns * side] = tiles.transpose(
        3, 4
    ).reshape(len(x), channels, rows * side, columns * side)
    return _stretched(x, delta, eps)


def moved(x: Tensor, best: Tensor, eps: float, side: int, bits: Tensor) -> Tensor:
    """A move in L2: the length of two windows of `best` - x, and what it is shorter than eps,
    go into a new eta in the first one."""
    delta = best - x
    here, there = _window(bits[:, :2], side, x), _window(bits[:, 2:4], side, x)
    own = _length(torch.where(here, delta, 0))
    both = _length(torch.where(here | there, delta, 0))
    spare = (eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp(min=0) / x.shape[1]
    peaks = _placed(bits, side, x) * _signs(bits[:, 5:, None, None], x.dtype)
    fresh = torch.where(here, peaks + delta / (own + TINY), 0)
    fresh = fresh * ((spare + both.square()).sqrt() / (_length(fresh) + TINY))
    return _stretched(x, torch.where(here, fresh, torch.where(there, 0, delta)), eps)


@cache
def eta(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The paper's eta of unit length (equation 2), upper peak positive, and its transpose,
    (2, side, side)."""
    half = torch.cat([_peak(side // 2, side), -_peak(side - side // 2, side)])
    half = half / half.norm()
    return torch.stack([half, half.T]).to(device, dtype)


def _peak(height: int, width: int) -> Tensor:
    """Square rings around the middle; a ring m pixels out has the height 1/(m+1)^2 + ... +
    1/M^2, M the last ring's number; of unit length."""
    down = (torch.arange(height) - height // 2).abs()
    right = (torch.arange(width) - width // 2).abs()
    rings = max(height, width) // 2 + 1
    steps = 1 / torch.arange(1, rings + 1, dtype=torch.float64).square()
    peak = steps.flip(0).cumsum(0).flip(0)[torch.maximum(down[:, None], right)]
    return peak / peak.norm()


def _corner(words: Tensor, side: int, length: int) -> Tensor:
    """Where windows begin along an axis: any of the length - side + 1 places alike, (B,)."""
    return (words * (length - side + 1)) >> 32


def _window(corner: Tensor, side: int, x: Tensor) -> Tensor:
    """Which pixels lie in each example's window, bool (B, 1, H, W); corner: words (B, 2)."""
    inside = []
    for axis, length in enumerate(x.shape[2:]):
        place = torch.arange(length, device=x.device)
        place = place - _corner(corner[:, axis], side, length)[:, None]
        inside.append((place >= 0) & (place < side))
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]


def _placed(bits: Tensor, side: int, x: Tensor) -> Tensor:
    """Each example's eta with its corner at that of the first window, (B, 1, H, W); what it
    is outside means nothing."""
    down, right = (
        (torch.arange(n, device=x.device) - _corner(bits[:, axis], side, n)[:, None]).clamp(
            0, side - 1
        )
        for axis, n in enumerate(x.shape[2:])
    )
    which = (bits[:, 4] >> 31)[:, None, None]
    return eta(side, x.dtype, x.device)[which, down[:, :, None], right[:, None, :]][:, None]


def _signs(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """The top bit of words as -1 or 1."""
    return (bits >> 31).to(dtype) * 2 - 1


def _length(delta: Tensor) -> Tensor:
    """The Euclidean length of each channel, (B, C, 1, 1)."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()


def _stretched(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """x + delta, delta brought to the length eps, cut by the box."""
    length = delta.square().sum((1, 2, 3), keepdim=True).sqrt()
    return (x + delta * (eps / (length + TINY))).clamp(0, 1)
