"""--norm-layer: a network with another kind of normalisation, new or trained."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from torch import nn

from hardy import config
from hardy.data.splits import DataSet
from hardy.models.affine import Affine, settled
from hardy.models.architecture import Architecture
from hardy.models.load import Checkpoint
from hardy.models.norm import NAMES, has_norm, must_keep_signal, with_norm
from hardy.modes import batchnorms
from hardy.verbs.asked.inputs import must_run

SETTLING = 256  # pictures of train that a network without normalisation begins on

NOTHING = "the network has no normalisation, so --norm-layer none changes nothing"


def begun(
    model: nn.Module, architecture: Architecture, data: DataSet
) -> tuple[nn.Module, Architecture, list[str]]:
    """A new network as its training begins, what it is, and what is to be said of it. Without
    normalisation it is `settled` on pictures from all over train. Raises ValueError where a
    normalisation makes every picture zero, and as `must_run`."""
    if architecture.norm is None:
        return model, architecture, []
    if architecture.norm != "none":
        _must_keep_signal(model, data)
        return model, architecture, []
    if not any(isinstance(module, Affine) for module in model.modules()):
        return model, replace(architecture, norm=None), [NOTHING]
    must_run(model, architecture.model, data)
    # Not the first ones: folders of pictures come class by class.
    apart = -(-len(data.train) // SETTLING)
    pictures = data.train.pixels(slice(0, None, apart)).cpu()
    said = (
        "the network has no normalisation: its channels began with mean 0 and variance 1 on "
        f"{len(pictures)} pictures of train"
    )
    return settled(model, pictures), architecture, [said]


def exchanged(asked: config.Train, found: Checkpoint, data: DataSet) -> Checkpoint:
    """The network of a checkpoint, on the CPU, with the normalisation of --norm-layer; unset: as it
    is. Its notes say what became of its weights. Raises ValueError where it has none to put another
    in the place of, and as `begun`."""
    kind = asked.norm_layer
    if kind is None or kind == found.architecture.norm:
        return found
    if kind == "none" and not has_norm(found.model):
        return replace(found, notes=[*found.notes, NOTHING])
    folded = kind == "none" and any(n.running_mean is not None for n in batchnorms(found.model))
    model = with_norm(found.model, kind)
    _must_keep_signal(model, data)
    how = (
        "BatchNorm's statistics are now a part of gamma and beta"
        if folded
        else "gamma and beta were taken over, and all weights were trained with the one before it"
    )
    said = f"the network's normalisation was swapped for {NAMES[kind]}: {how}"
    architecture = replace(found.architecture, norm=kind)
    return replace(found, model=model, architecture=architecture, notes=[*found.notes, said])


def _must_keep_signal(model: nn.Module, data: DataSet) -> None:
    with suppress(RuntimeError):  # of pictures that it does not take, `must_run` tells better
        must_keep_signal(model, data.train.pixels(slice(0, 1)).cpu())
