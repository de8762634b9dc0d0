"""From a verb's arguments to the things they name: device, data, attack, network.

Everything that can be wrong with the arguments is found here, before a file is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from hardy import config
from hardy.attacks.pgd import PGD
from hardy.data.load import load_data
from hardy.data.splits import DataSet
from hardy.evaluation.robustness import Protocol
from hardy.models.architecture import Architecture
from hardy.models.load import Checkpoint, read_checkpoint
from hardy.threat import threat_of

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

# The validation split must be the same in every run, whatever its seed.
DATA_SEED = 0


def keywords(kind: Callable[P, C], run: Callable[[C], R]) -> Callable[P, R]:
    """`run`, which takes a configuration, as a function of that configuration's fields."""

    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asked = kind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(str(error).replace("__init__()", "")) from None
        return run(asked)

    verb.__doc__ = kind.__doc__
    return verb


def device_of(name: str) -> torch.device:
    """The device of that name; 'auto' is a GPU where there is one.

    Raises ValueError where there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"no device {name!r} here: --device cpu always works") from None
    return device


def data_of(asked: config.OnData, limit_train: int | None = None) -> DataSet:
    """The data set, on the CPU."""
    if not isinstance(asked.data, str):
        return asked.data
    return load_data(
        asked.data,
        asked.data_root,
        val_fraction=asked.val_fraction,
        seed=DATA_SEED,
        limit_train=limit_train,
        image_size=asked.image_size,
    )


def attack_of(asked: config.Attacked) -> PGD:
    """The attack; raises ValueError for a radius, steps or step size out of range."""
    return PGD(threat_of(asked.norm, asked.eps), asked.steps, asked.step_size)


def protocol_of(asked: config.Evaluate | config.Rift | config.Train) -> Protocol:
    """How robust accuracy is reported: worst of --restarts, other starts than in training."""
    return Protocol(
        attack_of(asked), asked.restarts, asked.seed, asked.precision, max(256, asked.batch_size)
    )


def checkpoint_of(asked: config.FromCheckpoint, data: DataSet, device: torch.device) -> Checkpoint:
    """The network of --checkpoint, on the device, fit for the data.

    Raises ValueError where none is given or where it does not take these pictures.
    """
    if asked.checkpoint is None:
        if isinstance(asked.model, nn.Module):
            spec = Architecture("a network from Python", data.num_classes, data.in_channels, "none")
            found = Checkpoint(asked.model.eval(), spec, data.classes, {}, False, [])
        else:
            raise ValueError("--checkpoint is missing: give a run folder or a file of weights")
    else:
        found = read_checkpoint(
            asked.checkpoint,
            model=asked.model,
            normalize=asked.normalize,
        )
    must_fit(found, data)
    return replace(found, model=placed(found.model, device))


def must_fit(found: Checkpoint, data: DataSet) -> None:
    """Raises ValueError where a network's classes or channels are not those of the data."""
    spec = found.architecture
    if spec.num_classes != data.num_classes:
        raise ValueError(
            f"the network tells {spec.num_classes} classes apart, {data.name} has "
            f"{data.num_classes}: give the data it was trained on"
        )
    if spec.in_channels != data.in_channels:
        raise ValueError(
            f"the network takes {spec.in_channels} colour channels, {data.name} has "
            f"{data.in_channels}: give the data it was trained on"
        )
    if found.classes is not None and found.ours and found.classes != data.classes:
        odd = next((a, b) for a, b in zip(found.classes, data.classes, strict=True) if a != b)
        raise ValueError(
            f"the network was trained with class {odd[0]!r} where {data.name} has {odd[1]!r}: "
            "the order of the classes must be the same"
        )


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in the memory layout convolutions are fastest in."""
    return convert_conv2d_weight_memory_format(model.to(device), torch.channels_last)
