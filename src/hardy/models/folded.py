"""A network with its BatchNorms folded into the convolutions before them: the same logits up
to rounding, for up to 1.6 times less work a gradient step of an attack on a CPU.

In eval mode BatchNorm is an affine map of each channel, which the convolution before it can
do. The result is for searching alone: what an attack finds is judged by the network itself.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hardy.modes import evaluating


def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """The folded network, or the given one where its code cannot be traced or where the folded
    one says anything else: on x, pixels (B, C, H, W), and on its mirror image."""
    with evaluating(model), torch.no_grad():
        try:
            found = _fused(model).eval()
        except Exception:  # whatever a network's code does that tracing does not follow
            return model
        for pictures in (x, x.flip(-1)):
            before, after = model(pictures), found(pictures)
            spread = before.abs().amax().clamp(min=1)
            if not torch.allclose(before, after, rtol=0, atol=1e-4 * float(spread)):
                return model
    return found


def _fused(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # about other parts of torch, which the import reads
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.fx.experimental.optimization import fuse
    return fuse(model)
