"""From a verb's arguments to the things they name: device, data, attack, network.

What can be wrong with these things is found here, and with numbers and words in `arguments`,
before a file is written.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from hardy import config
from hardy.attacks.pgd import PGD
from hardy.data.from_python.handed import handed_in
from hardy.data.load import load_data
from hardy.data.made import made_of, said_of
from hardy.data.reshape import check_shape
from hardy.data.splits import DataSet
from hardy.data.streaming.delivered import delivered
from hardy.data.streaming.room import Streaming
from hardy.data.streaming.stream import usual_workers
from hardy.evaluation.robustness import Protocol
from hardy.models.architecture import Architecture
from hardy.models.libraries import is_library_name, library_net
from hardy.models.load import Checkpoint, read_checkpoint
from hardy.models.resized import fronted
from hardy.modes import evaluating
from hardy.threat import threat_of

# The validation split must be the same in every run, whatever its seed.
DATA_SEED = 0

# What makes a network fit for other classes.
RENEWED = "a new classifier layer by hardy train --num-classes auto"

# In place of a content hash, where more pictures may have been seen than those of the data.
SEEN_ELSEWHERE = "seen elsewhere"

# What a checkpoint says of the network that it started from: on which pictures that was chosen,
# and whether its classifier layer was made anew for other classes (see renewal.py).
INHERITED = ("chosen_on", "transfer")

# The radii that the field's tables are at.
USUAL_EPS = {"linf": 8 / 255, "l2": 128 / 255}


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
    if isinstance(asked.data, DataSet):
        check_shape(asked.image_size, asked.channels)
        data = handed_in(asked.data, limit_train, DATA_SEED, asked.image_size, asked.channels)
        return delivered(data, streaming_of(asked))
    return load_data(
        asked.data,
        asked.data_root,
        val_fraction=asked.val_fraction,
        seed=DATA_SEED,
        limit_train=limit_train,
        image_size=asked.image_size,
        channels=asked.channels,
        image_column=asked.image_column,
        label_column=asked.label_column,
        streaming=streaming_of(asked),
    )


def streaming_of(asked: config.OnData) -> Streaming:
    """How its pictures are kept. Raises ValueError as `device_of`."""
    device = device_of(asked.device if isinstance(asked, config.Run) else "cpu")
    several = 1
    if isinstance(asked, config.Train | config.Evaluate | config.Shared):
        several = asked.devices
    copies = int(os.environ.get("LOCAL_WORLD_SIZE", several))
    workers = usual_workers(copies) if asked.workers is None else asked.workers
    return Streaming(asked.stream, workers, device, copies)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """What tells tensors from others: a hash of their names, types, shapes and bits, the same
    in whatever order, on whatever device and in whatever memory layout they come."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> memoryview:
    # As uint8, for NumPy has no bfloat16.
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def attack_of(asked: config.Attacker) -> PGD:
    """The attack; raises ValueError for a radius, steps or step size out of range."""
    eps = USUAL_EPS[asked.norm] if asked.eps is None else asked.eps
    return PGD(threat_of(asked.norm, eps), asked.steps, asked.step_size)


def protocol_of(
    asked: config.Evaluate | config.Criticality | config.Train,
) -> Protocol:
    """How robust accuracy is reported: worst of --restarts. Attacks keep no gradients of the
    weights and no momentum, so they take twice the pictures of a training step at once."""
    return Protocol(
        attack_of(asked), asked.restarts, asked.seed, asked.precision, 2 * asked.batch_size
    )


def checkpoint_of(asked: config.FromCheckpoint, data: DataSet, device: torch.device) -> Checkpoint:
    """The network of --checkpoint, on the device, fit for the data: `given_network`, and then
    `fit_for`."""
    return fit_for(given_network(asked, data), data, device)


def given_network(asked: config.FromCheckpoint, data: DataSet) -> Checkpoint:
    """The network of --checkpoint on the CPU, whatever data it is for.

    A network that was handed in is copied, and stays as it is; it is taken to be for the data.
    Raises ValueError where none is given or where it cannot be copied or read.
    """
    model = _copied(asked.model) if isinstance(asked.model, nn.Module) else asked.model
    if asked.checkpoint is None:
        if isinstance(model, nn.Module):
            if asked.normalize is not None:
                raise ValueError(
                    "--normalize is for files: a network from Python takes pixels in [0, 1], and "
                    "what it does to them is its own; leave it out"
                )
            spec = Architecture(
                "a network from Python",
                data.num_classes,
                data.in_channels,
                "none",
                asked.input_size,
            )
            model = fronted(model.eval(), data.in_channels, input_size=asked.input_size)
            found = Checkpoint(model, spec, data.classes, {}, False, [])
        else:
            raise ValueError("--checkpoint is missing: give a run folder or a file of weights")
    else:
        found = read_checkpoint(
            Path(asked.checkpoint),
            model=model,
            normalize=asked.normalize,
            input_size=asked.input_size,
        )
    if any(value.dtype == torch.float64 for value in found.model.parameters()):
        found.notes.append("the file is in double precision: it is run in single precision")
        found.model.float()
    return found


def fit_for(found: Checkpoint, data: DataSet, device: torch.device) -> Checkpoint:
    """The same network on the device. Raises ValueError where it is not one for this data."""
    must_fit(found, data)
    must_run(found.model, found.architecture.model, data)
    return replace(found, model=placed(found.model, device))


def _copied(model: nn.Module) -> nn.Module:
    """The same network on the CPU, with nothing shared."""
    try:
        return copy.deepcopy(model).cpu()
    except Exception as error:  # whatever its own parts may raise
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({error}), and a network from Python is "
            "measured and trained as a copy: make copy.deepcopy work on it"
        ) from error


def unseen_val(found: Checkpoint, data: DataSet) -> bool:
    """Whether the validation pictures are new to a network: only where this project trained
    it, and all that it started from, on the same pictures with the same cut.

    Another set of pictures proves nothing, for sets overlap: a folder of a part of CIFAR-10, or
    the same pictures in another size, has another content hash and may hold what was trained on.
    """
    own = ("content_hash", "val_fraction")
    return found.ours and all(found.extra.get(key) == data.provenance[key] for key in own)


def origin(
    data: DataSet, method: str, start: Checkpoint | None = None, extra_data: str | None = None
) -> dict[str, Any]:
    """What a checkpoint must say of its data, so that it is known later what it has seen.

    extra_data: the spec of the pictures beside train, if any; `load_extra` has seen to it that
    none of val is among them. Those of `start` are named before it.
    """
    about = {
        "data": data.name,
        "content_hash": data.provenance["content_hash"],
        "val_fraction": data.provenance["val_fraction"],
        "image_size": data.image_size,
        "method": method,
    }
    if made := made_of(data.provenance):
        about["made"] = said_of(made)
    if extra_data is not None:
        about["extra_data"] = extra_data
    if start is None:
        return about
    if earlier := start.extra.get("extra_data"):
        about["extra_data"] = earlier if extra_data is None else f"{earlier}, {extra_data}"
    if not unseen_val(start, data):
        about["content_hash"] = SEEN_ELSEWHERE
    inherited = {key: start.extra[key] for key in INHERITED if key in start.extra}
    return {**inherited, **about}


def must_fit(found: Checkpoint, data: DataSet) -> None:
    """Raises ValueError where a network's classes or channels are not those of the data."""
    spec = found.architecture
    if spec.num_classes != data.num_classes:
        raise ValueError(
            f"the network tells {spec.num_classes} classes apart, {data.name} has "
            f"{data.num_classes}: give the data it was trained on, or {RENEWED}"
        )
    must_take_channels(found, data)
    if found.classes is not None and found.ours and found.classes != data.classes:
        odd = next((a, b) for a, b in zip(found.classes, data.classes, strict=True) if a != b)
        raise ValueError(
            f"the network was trained with class {odd[0]!r} where {data.name} has {odd[1]!r}: "
            f"the order of the classes must be the same, or {RENEWED}"
        )


def must_take_channels(found: Checkpoint, data: DataSet) -> None:
    """Raises ValueError where a network's channels are not those of the pictures."""
    channels = found.architecture.in_channels
    if channels != data.in_channels:
        how = (
            f"--channels {channels} makes such pictures of them, or " if channels in (1, 3) else ""
        )
        raise ValueError(
            f"the network takes {channels} colour channels, {data.name} has "
            f"{data.in_channels}: {how}give the data it was trained on"
        )


def must_run(model: nn.Module, name: str, data: DataSet) -> None:
    """Raises ValueError where a network on the CPU cannot take one picture of the data, or gives
    other logits than one for each class."""
    logits = logits_of_one(model, name, data)
    if logits.shape != (1, data.num_classes):
        raise ValueError(
            f"{name} gives {tuple(logits.shape)} for one picture of {data.name}: it must give "
            f"logits of shape (1, {data.num_classes}), or get {RENEWED}"
        )


def logits_of_one(model: nn.Module, name: str, data: DataSet) -> Tensor:
    """What a network on the CPU gives for one picture of the data. Raises ValueError where it
    cannot take it or gives anything but a tensor."""
    size = f"{data.image_size}×{data.image_size}"
    try:
        with torch.no_grad(), evaluating(model):
            logits = model(data.train.pixels(slice(0, 1)).cpu())
    except (RuntimeError, ValueError, AssertionError) as error:
        native = library_net(name).size if is_library_name(name) else None
        fitting = (
            f"--input-size {native}, the size it is made for"
            if native
            else "--input-size N where it is made for N pixels"
        )
        raise ValueError(
            f"{name} does not take the {size} pictures of {data.name} ({error}): give another "
            f"--model, {fitting}, or data of that size"
        ) from error
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"{name} gives a {type(logits).__name__} for a picture: it must give the logits, a "
            "tensor, alone"
        )
    return logits


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in the memory layout convolutions are fastest in."""
    if device.type == "cpu" and any(map(_overruns, model.modules())):
        return convert_conv2d_weight_memory_format(model.to(device), torch.contiguous_format)
    return convert_conv2d_weight_memory_format(model.to(device), torch.channels_last)


def _overruns(module: nn.Module) -> bool:
    """Whether the backward pass of a convolution in channels_last writes past its memory on a CPU
    with AVX-512, as that of torch 2.13 does where a 1×1 kernel strides over few channels."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels <= 16
        and module.out_channels <= 16
    )
