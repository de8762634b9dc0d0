"""One normalisation in the place of another: what is taken over, and over which dimension."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardy.models.affine import Affine
from hardy.models.norm_reading import (
    OF_CHANNELS,
    OF_LAST,
    channels_of,
    eps_of,
    has_measured,
    takes_last,
    what_follows,
)
from hardy.modes import BATCHNORMS

NormLayer = Literal["bn", "gn", "ln", "in", "none"]

MOST_GROUPS = 32  # Wu & He, Group Normalization, ECCV 2018

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm of x (B, C, …), however many dimensions follow."""

    def _check_input_dim(self, input: Tensor) -> None:
        del input


class Swapped(nn.Module):
    """A layer where it is not enough by itself. last: its channels are the last dimension here,
    and the second for the layer; then: what its predecessor did after normalising."""

    def __init__(self, norm: nn.Module, then: nn.Module, last: bool) -> None:
        super().__init__()
        self.norm, self.then, self.last = norm, then, last

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape as x."""
        out = self.norm(x.movedim(-1, 1)).movedim(1, -1) if self.last else self.norm(x)
        return self.then(out)


NORMS = (*OF_CHANNELS, *OF_LAST, Swapped)


def groups(channels: int) -> int:
    """The groups of GroupNorm: the most, up to 32, that share the channels out evenly with at
    least two in each; one, where there are none such."""
    most = min(MOST_GROUPS, channels // 2)
    return next((count for count in range(most, 0, -1) if channels % count == 0), 1)


def swapped(old: nn.Module, kind: NormLayer, where: dict[str, Any]) -> nn.Module:
    """The layer of a kind for one of `NORMS`, with its gamma and beta, in its mode; where: device
    and dtype of those that it has not. Raises ValueError as `with_norm`."""
    norm, then, last = old, None, False
    if isinstance(old, Swapped):
        norm, then, last = old.norm, old.then, old.last
    last = last or (isinstance(norm, OF_LAST) and takes_last(norm))
    moves = last and kind != "ln"
    then = what_follows(norm) if then is None else then
    new = _layer(norm, kind, last, where)
    new.training = norm.training
    if not moves and isinstance(then, nn.Identity):
        return new
    whole = Swapped(new, then, moves)
    whole.training = old.training
    return whole


def _layer(old: nn.Module, kind: NormLayer, last: bool, where: dict[str, Any]) -> nn.Module:
    """The normalisation itself."""
    channels, eps = channels_of(old), eps_of(old, where["dtype"])
    new: nn.Module
    if kind == "bn":
        new = _batchnorm(old, channels, eps, where)
    elif kind == "none":
        new = Affine(channels, eps, **where)
    elif kind == "ln" and last:
        new = nn.LayerNorm(channels, eps, **where)
    else:
        count = {"gn": groups(channels), "ln": 1, "in": channels}[kind]
        new = nn.GroupNorm(count, channels, eps, **where)
    for name in ("weight", "bias"):
        given = dict(old.named_parameters(recurse=False)).get(name)
        if given is not None:
            setattr(new, name, given)
    if kind == "none" and has_measured(old):
        _fold(old, new, eps)
    return new


def _batchnorm(old: nn.Module, channels: int, eps: float, where: dict[str, Any]) -> nn.Module:
    """A BatchNorm keeps its statistics, and one of pictures stays one, which can be folded into a
    convolution."""
    if not isinstance(old, BATCHNORMS):
        return BatchNorm(channels, eps, **where)
    make = next((plain for plain in _PLAIN if isinstance(old, plain)), BatchNorm)
    new = make(channels, eps, old.momentum, track_running_stats=old.track_running_stats, **where)
    for name, buffer in old.named_buffers(recurse=False):
        setattr(new, name, buffer)
    return new


@torch.no_grad()
def _fold(old: nn.Module, new: nn.Module, eps: float) -> None:
    """Running statistics as a part of gamma and beta, which are tied to no other layer's then."""
    mean, var = (old.get_buffer(f"running_{name}").double() for name in ("mean", "var"))
    weight, bias = (new.get_parameter(name) for name in ("weight", "bias"))
    scale = weight.double() * (var + eps).rsqrt()
    shift = bias.double() - mean * scale
    for name, value, like in (("weight", scale, weight), ("bias", shift, bias)):
        setattr(new, name, nn.Parameter(value.to(like.dtype), like.requires_grad))
