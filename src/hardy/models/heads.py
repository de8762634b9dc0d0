"""The classifier layer of a network: found by following the logits back, and made anew.

    >>> head_of(resnet18(num_classes=10))
    'linear'

The logits' graph is walked from its end; the first linear map or convolution on every way is
where they are made. No name is guessed, so a scale, a pooling or a sum may follow the layer.
"""

from __future__ import annotations

import copy
import difflib

import torch
from torch import Tensor, nn

from hardy.models.normalize import Normalized
from hardy.models.output_layers import made_by

SHOWN = 8


def head_of(model: nn.Module, picture: Tensor | None = None) -> str:
    """The name of the layer whose output is the logits, as in `named_modules`.

    picture: pixels (1, C, H, W) that the network takes; without it one is made up. Raises
    ValueError, with the candidates, where no single linear map or convolution makes them.
    """
    layers = _layers(model)
    logits, found = made_by(model, layers, picture)
    count, rows = logits.shape[1], {name: _rows(layer) for name, layer in layers.items()}
    fitting = [name for name in found if rows[name] == count]
    if len(fitting) == len(found) == 1:
        return found[0]
    if fitting == found and found:
        raise ValueError(
            f"the logits of {type(model).__name__} come from several layers together "
            f"({', '.join(found)}): give a network with one classifier layer, or name with --head "
            "the one that is meant"
        )
    fitting = [name for name in rows if rows[name] == count]
    told = ", ".join(fitting[-SHOWN:]) or f"none, and the last are {', '.join([*rows][-3:])}"
    raise ValueError(
        f"the layer that makes the {count} logits of {type(model).__name__} was not found "
        f"(layers of {count} numbers: {told}): name it with --head"
    )


def named_head(model: nn.Module, name: str) -> str:
    """The layer of that name, which may leave out the front of the network (see `fronted`).

    Raises ValueError, with the nearest names, where there is no such linear map or convolution.
    """
    names, prefix = [*_layers(model)], ""
    while prefix + name not in names:
        if not isinstance(model, Normalized):
            near = difflib.get_close_matches(prefix + name, names, n=3, cutoff=0.3) or names[-3:]
            raise ValueError(
                f"--head: the network has no linear map or convolution {name!r}: did you mean "
                f"{', '.join(near)}?"
            )
        model, prefix = model.model, prefix + "model."
    return prefix + name


def new_head(model: nn.Module, name: str, num_classes: int, seed: int) -> list[str]:
    """Put a new layer of the same kind, for another number of classes, in a layer's place; the
    names of its entries in the state dict.

    It is initialised as its class does, from a generator of its own: the same seed gives the same
    weights, and torch's own stays as it was. Raises ValueError where there is no such layer or its
    weight is not its own.
    """
    name = named_head(model, name)
    old = _layers(model)[name]
    own = dict(old.named_parameters(recurse=False))
    kept = {key: own[key] for key in ("weight", "bias") if key in own}
    if "weight" not in kept:
        raise ValueError(
            f"the weight of {name} is computed from others (weight norm, or the like), so the "
            "layer cannot be made anew: take the parametrisation off first"
        )
    new = copy.deepcopy(old)
    for key, value in kept.items():
        shape = (num_classes, *value.shape[1:])
        setattr(new, key, nn.Parameter(torch.empty(shape, dtype=value.dtype)))
    setattr(new, "out_features" if isinstance(new, nn.Linear) else "out_channels", num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new.reset_parameters()
    new.to(kept["weight"].device)
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if module is old:  # also where it goes by a second name
            parent, _, last = path.rpartition(".")
            setattr(model.get_submodule(parent), last, new)
    return [f"{name}.{key}" for key in kept]


def _layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Every linear map and convolution by its name."""
    return {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, nn.Linear | nn.Conv2d)
    }


def _rows(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
