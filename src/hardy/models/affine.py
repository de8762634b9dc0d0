"""What stands for a normalisation in a network without one, and where its training begins.

Data-dependent initialisation: Krähenbühl et al., Data-dependent Initializations of Convolutional
Neural Networks, ICLR 2016; Salimans & Kingma, Weight Normalization, NeurIPS 2016; Mishkin &
Matas, All you need is a good init, ICLR 2016.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hardy.modes import evaluating


class Affine(nn.Module):
    """gamma * x + beta for each channel, of x (B, C, …): the parameters of a BatchNorm, and
    nothing normalised. eps: of the normalisation whose place it takes."""

    def __init__(self, channels: int, eps: float = 1e-5, **where: Any) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels, **where))
        self.bias = nn.Parameter(torch.zeros(channels, **where))

    def forward(self, x: Tensor) -> Tensor:
        # Channels last, where they broadcast for any number of dimensions, which a tracer does
        # not know. Under autocast the sum is in float32 and, as BatchNorm's, given back as x is.
        out = torch.addcmul(self.bias, x.movedim(1, -1), self.weight).movedim(-1, 1)
        return out.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"


def settled(model: nn.Module, pictures: Tensor) -> nn.Module:
    """A copy of a network whose every `Affine` begins as the BatchNorm in its place would, with
    gamma * (x - mean) / sqrt(var + eps) + beta: gamma and beta are those that it has, and mean and
    var those of x by channel on these pictures (B, C, H, W).

    They are measured in one forward pass in eval mode, each on what the settled ones before it
    give; so on these pictures the logits are those of the net with BatchNorm in train mode, but for
    dropout. The scale goes into the weight of the convolution or linear map that gives x, where
    that changes nothing else, else into gamma: there it would multiply the gradient of
    that weight, and a network without normalisation learn at smaller rates only. One that is used
    in several places is settled at the first. A channel that hardly varies (var at most eps) keeps
    its scale, for it would be that of rounding.
    """
    model = copy.deepcopy(model)
    with torch.no_grad(), evaluating(model):
        for affine, layer, scale in _scaled(model, pictures):
            _move(model, affine, layer, scale, pictures[:2])
    return model


def _scaled(model: nn.Module, pictures: Tensor) -> list[tuple[Affine, nn.Module, Tensor]]:
    """Settle every `Affine` by its own gamma and beta. Of those that take what a convolution or
    linear map gives: it, the map and the scale (C,) that gamma got."""
    waiting = {module for module in model.modules() if isinstance(module, Affine)}
    found: list[tuple[Affine, nn.Module, Tensor]] = []
    last: list[tuple[nn.Module, Tensor]] = []  # the last map, and what it has given

    def remember(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        del args
        last[:] = [(layer, out)]

    def settle(affine: nn.Module, args: tuple[Tensor, ...]) -> None:
        if affine not in waiting:
            return
        assert isinstance(affine, Affine)
        waiting.remove(affine)
        others = [dim for dim in range(args[0].ndim) if dim != 1]
        var, mean = torch.var_mean(args[0].double(), others, correction=0)
        scale = torch.where(var > affine.eps, (var + affine.eps).rsqrt(), 1)
        affine.bias.copy_(affine.bias - affine.weight * scale * mean)
        affine.weight.copy_(affine.weight * scale)
        found.extend((affine, layer, scale) for layer, out in last if out is args[0])

    hooks = [affine.register_forward_pre_hook(settle) for affine in waiting]
    maps = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    hooks += [module.register_forward_hook(remember) for module in maps]
    try:
        model(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _move(
    model: nn.Module, affine: Affine, layer: nn.Module, scale: Tensor, pictures: Tensor
) -> None:
    """The scale out of gamma and into the layer before it, unless anything else changes by that:
    what the layer gives, or its weight, may be used elsewhere too, or be computed of another."""
    own = list(layer.parameters(recurse=False))
    if any(len(parameter) != len(scale) for parameter in own):
        return
    before = [parameter.clone() for parameter in (affine.weight, *own)]
    expected = _given(model, affine, pictures)
    affine.weight.div_(scale)
    for parameter in own:
        parameter.mul_(scale.view(-1, *[1] * (parameter.ndim - 1)))
    found = _given(model, affine, pictures)
    if not all(map(_alike, expected, found)):
        for parameter, value in zip((affine.weight, *own), before, strict=True):
            parameter.copy_(value)


def _given(model: nn.Module, affine: Affine, pictures: Tensor) -> list[Tensor]:
    """The logits, what every other `Affine` is given and what this one gives. Not the logits alone:
    behind a gamma or a classifier that begins at zero they tell nothing."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        found.append((out if module is affine else args[0]).clone())

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, Affine)]
    try:
        return [model(pictures), *found]
    finally:
        for hook in hooks:
            hook.remove()


def _alike(one: Tensor, other: Tensor) -> bool:
    spread = float(one.abs().amax().clamp(min=1))
    return torch.allclose(one, other, rtol=0, atol=1e-4 * spread)
