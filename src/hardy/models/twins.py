"""A network with two wings: every BatchNorm once with its statistics as they were and once as
usual (Liu et al., TWINS: a fine-tuning framework for improved transferability of adversarial
robustness and generalization, CVPR 2023).

    >>> net = to_twins(model)      # train it: each half of a batch goes through a wing of its own
    >>> plain = to_plain(net)      # an ordinary network again, the adaptive wing

All other layers are shared. In train mode the first half of a batch goes through the *frozen*
wing, which normalises with the statistics of pre-training for good, and the second half through
the *adaptive* one, an ordinary BatchNorm; in eval mode everything goes through the adaptive one.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hardy.models.replacing import replaced
from hardy.modes import BATCHNORMS, batchnorms

Affine = Literal["separate", "shared"]


def to_twins(model: nn.Module, *, affine: Affine = "separate") -> nn.Module:
    """A copy of the network with both wings, in the same mode; its logits in eval mode are the
    same to the bit.

    affine: whether each wing has a trainable gamma and beta of its own, both started from the
    network's ('separate', as in the authors' code), or both wings have one pair ('shared').
    Every BatchNorm must get the pictures along its first dimension; one that is used in several
    places stays one.

    Raises ValueError as `must_have_batchnorm`.
    """
    must_have_batchnorm(model)
    return replaced(model, BATCHNORMS, lambda norm: TwinNorm(norm, affine, model.training))


def must_have_batchnorm(model: nn.Module) -> None:
    """Raises ValueError where the network has no BatchNorm, one without running statistics, or
    two wings already."""
    norms = batchnorms(model)
    if any(isinstance(module, TwinNorm) for module in model.modules()):
        raise ValueError("the network has two wings already: take to_plain of it first")
    if not norms:
        raise ValueError(
            "TWINS makes two of every BatchNorm, and the network has none: fine-tune it with "
            "another method, such as pgd_at or trades"
        )
    if any(norm.running_mean is None for norm in norms):
        raise ValueError(
            "TWINS keeps the running statistics of every BatchNorm, and one has none: "
            "build it with track_running_stats=True, or take another method"
        )


def to_plain(model: nn.Module) -> nn.Module:
    """The adaptive wing of a network that `to_twins` has made, as an ordinary network with the
    names of the original: a copy, whose logits in eval mode are the same to the bit.

    Raises ValueError where the network has no two wings.
    """
    if not any(isinstance(module, TwinNorm) for module in model.modules()):
        raise ValueError("the network has no two wings: it is plain already")
    return replaced(model, (TwinNorm,), lambda twin: twin.get_submodule("adaptive"))


def frozen_share(batch_size: int) -> int:
    """How many pictures of a batch in train mode, its first ones, go through the frozen wing:
    half of them, rounded down, so a single picture goes through the adaptive one."""
    return batch_size // 2


class Statistics(nn.Module):
    """A BatchNorm's running mean and variance, which never move again, and with `affine` a gamma
    and beta that are trained. It is no BatchNorm, for what re-estimates, exchanges or copies
    the statistics of those must leave it alone."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.Module, affine: bool) -> None:
        super().__init__()
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, norm.get_buffer(name).detach().clone())
        for name, parameter in norm.named_parameters(recurse=False) if affine else ():
            own = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            self.register_parameter(name, own)


class TwinNorm(nn.Module):
    """A BatchNorm, or whatever stands for one (with an activation inside, say), in two wings."""

    def __init__(self, norm: nn.Module, affine: Affine, training: bool) -> None:
        super().__init__()
        self.adaptive = norm
        self.frozen = Statistics(norm, affine == "separate")
        # The network's mode and not the BatchNorm's own: a batch is halved everywhere or nowhere.
        self.training = training

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape as x."""
        if not self.training:
            return self.adaptive(x)
        count = frozen_share(len(x))
        return torch.cat([self._through_frozen(x[:count]), self.adaptive(x[count:])])

    def _through_frozen(self, x: Tensor) -> Tensor:
        """The very forward pass of the BatchNorm in eval mode, but with the frozen statistics:
        so all that a subclass does beside normalising is done here too, once."""
        mode, state = self.adaptive.training, dict(self.frozen.named_parameters())
        # Not .eval(): dropout inside keeps its mode.
        self.adaptive.training = False
        try:
            state |= dict(self.frozen.named_buffers())
            return functional_call(self.adaptive, state, (x,))
        finally:
            self.adaptive.training = mode
