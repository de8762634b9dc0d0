"""What a layer of normalisation is, whatever library it comes from."""

from __future__ import annotations

import torch
from torch import nn

from hardy.models.affine import Affine
from hardy.modes import evaluating

OF_CHANNELS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, Affine)  # of dimension 1
OF_LAST = (nn.LayerNorm, nn.RMSNorm)  # of the last, but for some of the libraries' own


def channels_of(norm: nn.Module) -> int:
    if isinstance(norm, Affine):
        return len(norm.weight)
    if isinstance(norm, nn.GroupNorm):
        return norm.num_channels
    if isinstance(norm, nn.modules.batchnorm._NormBase):
        return norm.num_features
    assert isinstance(norm, OF_LAST)
    if len(norm.normalized_shape) != 1:
        raise ValueError(
            f"a {type(norm).__name__} normalises over {tuple(norm.normalized_shape)}, more than "
            "channels: it cannot be swapped"
        )
    return norm.normalized_shape[0]


def eps_of(norm: nn.Module, dtype: torch.dtype) -> float:
    # RMSNorm may have None: the smallest step from 1 of the numbers that it computes with.
    found = vars(norm).get("eps")
    return torch.finfo(dtype).eps if found is None else found


def takes_last(norm: nn.Module) -> bool:
    """Whether a LayerNorm or RMSNorm wants the channels as the last dimension, or as the second,
    as the libraries' own kinds for pictures do: it is asked with one of either."""
    channels = channels_of(norm)
    tensor = next((t for t in norm.parameters()), torch.empty(0))
    x = torch.zeros(1, 2 if channels == 1 else 1, 1, channels, device=tensor.device)
    try:
        with torch.no_grad(), evaluating(norm):
            norm(x.to(tensor.dtype))
    except RuntimeError:
        return False
    return True


def what_follows(norm: nn.Module) -> nn.Module:
    """What a library's layer does after normalising: dropout, then activation, as timm's."""
    inner = dict(norm.named_children())
    if more := inner.keys() - {"drop", "act"}:
        raise ValueError(
            f"a {type(norm).__name__} does more than normalise ({', '.join(sorted(more))} in it): "
            "it cannot be swapped"
        )
    does = [inner[name] for name in ("drop", "act") if name in inner]
    does = [module for module in does if not isinstance(module, nn.Identity)]
    return nn.Sequential(*does) if does else nn.Identity()


def has_measured(norm: nn.Module) -> bool:
    """Whether there are running statistics, and they are of pictures: not 0 and 1."""
    state = dict(norm.named_buffers(recurse=False))
    mean, var = state.get("running_mean"), state.get("running_var")
    if mean is None or var is None or mean.is_meta:
        return False
    return bool(mean.any() or (var != 1).any())
