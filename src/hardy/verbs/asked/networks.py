"""Several networks of files, each under a short name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hardy import config
from hardy.data.splits import DataSet
from hardy.models.hub import Place, is_hub
from hardy.models.load import BEST, Checkpoint, seeds_in
from hardy.verbs.asked.inputs import checkpoint_of, placed


def networks_of(
    paths: Sequence[Path | None], asked: config.FromCheckpoint, data: DataSet
) -> tuple[dict[str, Checkpoint], dict[Path | None, list[str]]]:
    """The networks by their labels, on the CPU, and the labels of each path: several where it is
    the folder of a run of several seeds; None is a network from Python.

    Raises ValueError as `checkpoint_of`.
    """
    nets: dict[str, Checkpoint] = {}
    labels: dict[Path | None, list[str]] = {}
    for given in paths:
        labels[given] = []
        for path in (seeds_in(given) if given else []) or [given]:
            one = config.FromCheckpoint(
                checkpoint=path,
                model=asked.model,
                normalize=asked.normalize,
                input_size=asked.input_size,
            )
            labels[given].append(label_of(path, nets))
            nets[labels[given][-1]] = checkpoint_of(one, data, torch.device("cpu"))
    return nets, labels


def placed_on(device: torch.device, nets: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """The networks on a device, see `placed`."""
    return {label: replace(net, model=placed(net.model, device)) for label, net in nets.items()}


def remarks_on(nets: Mapping[str, Checkpoint], data: DataSet) -> list[str]:
    """What a reader must know of the networks and the data."""
    notes = [f"{label}: {sentence}" for label, net in nets.items() for sentence in net.notes]
    known = data.provenance.get("notes")
    return [*notes, f"Data: {known}."] if known else notes


def label_of(path: Path | None, taken: Collection[str]) -> str:
    """A short name for a checkpoint: its own, or its folder's where files have one name."""
    if path is None:
        return "network"
    if is_hub(path):
        place = Place.of(path)
        names = (place.repo, str(place), *(f"{place} ({i})" for i in range(2, len(taken) + 3)))
        return next(each for each in names if each not in taken)
    folder = path.parent if path.name == BEST else path
    name = path.stem if folder == path and not path.is_dir() else folder.name
    if re.fullmatch(r"epoch-\d+", name) and path.parent.name:
        folder, name = path.parent, f"{path.parent.name}/{name}"  # of --keep-epochs
    if re.fullmatch(r"seed-\d+", name.partition("/")[0]) and folder.parent.name:
        name = f"{folder.parent.name}/{name}"  # of a run of several seeds
    names = (name, str(path), *(f"{path} ({i})" for i in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)
