"""The start of a run from the weights that a library publishes: --pretrained."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from hardy import config
from hardy.data.splits import DataSet
from hardy.models.architecture import Architecture
from hardy.models.libraries import is_library_name, library_net
from hardy.models.load import Checkpoint
from hardy.models.resized import fronted
from hardy.verbs.training.renewal import reported, transferred


def published(asked: config.Train, data: DataSet) -> Checkpoint:
    """The network of --model with its published weights, on the CPU, behind the normalisation
    that they were trained with; where the data has other classes, with a new classifier layer,
    drawn from --seed. It counts as a checkpoint from elsewhere: what it has seen is not known.

    Raises ValueError where --model names no network of a library, beside --checkpoint, or where
    the weights cannot be had.
    """
    if asked.checkpoint is not None:
        raise ValueError("--pretrained and --checkpoint are two starts: leave one of them out")
    if isinstance(asked.model, nn.Module) or not is_library_name(asked.model or ""):
        raise ValueError(
            "--pretrained is for networks of timm and torchvision: --model timm:NAME, such as "
            "timm:resnet50; weights in a file are --checkpoint FILE"
        )
    library = library_net(str(asked.model))
    architecture = Architecture(
        library.model,
        data.num_classes,
        data.in_channels,
        library.normalize if asked.normalize is None else asked.normalize,
        asked.input_size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(asked.seed)
        network, new = library.published(data.num_classes, data.in_channels, asked.input_size)
    network = fronted(
        network,
        architecture.in_channels,
        normalize=architecture.normalize,
        input_size=architecture.input_size,
    ).eval()
    found = Checkpoint(network, architecture, None, {}, False, [])
    if not new and asked.num_classes is None:
        kept = (
            f"the published weights of {library.model} were taken whole, with the classifier layer "
            f"of their {data.num_classes} classes: --num-classes {data.num_classes} makes it anew"
        )
        return replace(found, notes=[kept])
    if not new:
        return transferred(asked, found, data)
    whom = f"the published weights of {library.model}"
    return reported(found, new, whom, 0 if library.headless else library.num_classes, data)
