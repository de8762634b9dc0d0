"""The nearest point of a hyperplane inside the pixel box, without sorting the coordinates.

Cut off by the box, the smallest shift onto a hyperplane follows the norm's steepest direction:

    delta(r) = direction * min(r * speed, room),    speed = |steepest(normal)|

where `room` is how far each coordinate is from its wall. What it gains of the product with the
normal, g(r) = sum |normal| min(r * speed, room), is concave, piecewise linear and rising in
r, so that Newton's method comes from below, never passes the root and ends on it exactly:
residual times slope falls to a quarter or less in every pass (Dinkelbach's bound), in practice
two to six passes of a sum each, where the published code sorts all coordinates.

Source of the problem: Croce and Hein, Minimally distorted adversarial examples with a fast
adaptive boundary attack (ICML 2020), equation 5 and appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hardy.threat import Threat


def shift_onto(threat: Threat, x: Tensor, normal: Tensor, excess: Tensor) -> Tensor:
    """The smallest shift (S, B, C, H, W) in the threat's norm, in pixels, that takes away the
    excess inside the box: normal · delta = -excess and 0 <= x + delta <= 1.

    x: S points of the box for each of B hyperplanes, (S, B, C, H, W); normal: (B, C, H, W);
    excess: (S, B), by how much normal · x is above the hyperplane. Where the box does not reach
    so far: the shift to its corner furthest that way. A coordinate without weight stays, and so
    does a point whose normal is zero.
    """
    steepest, size = threat.steepest(normal).flatten(1), normal.flatten(1).abs()
    direction = steepest.sign() * -excess.sign()[..., None]
    room = torch.where(direction > 0, 1 - x.flatten(2), x.flatten(2))
    speed, need = steepest.abs(), excess.abs()
    slope, worth = size * speed, size * room
    # As far as it takes where no coordinate meets its wall: never too far.
    reach = need / slope.sum(-1).clamp(min=torch.finfo(x.dtype).tiny)
    while True:
        free = room > speed * reach[..., None]
        rising = torch.where(free, slope, 0).sum(-1)
        missing = need - torch.where(free, 0, worth).sum(-1)
        further = torch.where(rising > 0, missing / rising, torch.inf)
        # Of the same free coordinates come the same bits, so the last pass changes nothing.
        if not (further > reach).any():
            break
        reach = torch.maximum(reach, further)
    return (direction * torch.where(free, speed * reach[..., None], room)).view_as(x)
