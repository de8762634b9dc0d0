"""A network with its normalisations swapped for those of another kind, so that nets differ in
nothing else (Benz et al., Batch Normalization Increases Adversarial Vulnerability and Decreases
Adversarial Transferability: A Non-Robust Feature Perspective, ICCV 2021).

    >>> net = with_norm(resnet18(), "gn")
    >>> net = settled(with_norm(resnet18(), "none"), pictures)   # see affine.py

Of x with its channels in dimension 1, each kind computes gamma (x - mean) / sqrt(var + eps) + beta,
with a gamma and a beta for each channel, and with mean and var

    bn    of each channel over the batch and all positions; running ones in eval mode
    gn    of each picture and group of channels (see `groups`) over all positions
    ln    the same with one group
    in    the same with each channel for itself
    none  gamma x + beta: neither

Where the channels are the last dimension, as of a transformer's tokens (B, N, C), positions are
what lies between; and there ln is LayerNorm as such nets have it, over the channels of a position.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hardy.models.norm_layers import NORMS, NormLayer, swapped
from hardy.models.replacing import replaced
from hardy.modes import evaluating

NAMES: dict[str, str] = {
    "bn": "BatchNorm",
    "gn": "GroupNorm",
    "ln": "LayerNorm",
    "in": "InstanceNorm",
    "none": "no normalisation",
}


def with_norm(model: nn.Module, kind: NormLayer) -> nn.Module:
    """A copy of the network with layers of one kind in the place of all its normalisations, in the
    same modes: BatchNorm, InstanceNorm, GroupNorm, LayerNorm and RMSNorm over channels, and the
    libraries' subclasses of them, whose dropout and activation stay. One that is used in several
    places stays one. The normalisation of pixels is none of them.

    Gamma, beta and eps are taken over; where there was no gamma or beta, they are 1 and 0. Running
    statistics that 'none' replaces are folded into both, so that logits in eval mode stay but for
    rounding, unless they are 0 and 1 as in a new network. What comes out is the same whatever
    other kinds the network had in between.

    Raises ValueError for an unknown kind, for a normalisation of more than channels, and for a
    network without any, of which 'none' gives a copy.
    """
    must_be_kind(kind)
    if kind != "none" and not has_norm(model):
        raise ValueError(
            f"the network has no normalisation that {kind} could take the place of: leave it as it "
            "is, or give another network"
        )
    like = next(model.parameters(), torch.empty(0))
    where = {"device": like.device, "dtype": like.dtype}
    found = replaced(model, NORMS, lambda old: swapped(old, kind, where))
    for layer in found.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            # In eval mode its fast path computes LayerNorm, whatever its norms are: without this
            # it is not taken.
            layer.activation_relu_or_gelu = 0
    return found


def must_be_kind(kind: str) -> None:
    """Raises ValueError for a word that is no `NormLayer`."""
    if kind not in NAMES:
        raise ValueError(f"a normalisation is one of {', '.join(NAMES)}, not {kind!r}")


def has_norm(model: nn.Module) -> bool:
    """Whether a network has a layer that `with_norm` puts another in the place of."""
    return any(isinstance(module, NORMS) for module in model.modules())


def must_keep_signal(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError where, of pictures x (B, C, H, W), a layer normalises single values, as
    InstanceNorm does with maps of one position: whatever they are, they become zero; or two by
    themselves, as GroupNorm may there: they become -1 and 1."""

    def watched(name: str, count: int) -> Callable[..., None]:
        def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            together = math.prod(args[0].shape[1:]) // count
            if together == 1:
                raise ValueError(
                    f"at {name} a map is of one position, and normalised by itself it is zero for "
                    "every picture: take bn, gn, ln or none, or larger pictures"
                )
            if together == 2:
                raise ValueError(
                    f"at {name} two values are normalised by themselves, which leaves -1 and 1 of "
                    "any two: take bn, ln or none, or larger pictures"
                )

        return look

    hooks = [
        module.register_forward_pre_hook(watched(name, module.num_groups))
        for name, module in model.named_modules()
        if isinstance(module, nn.GroupNorm)
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
