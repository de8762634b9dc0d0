"""The networks of timm by name, and its conversion of other people's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hardy.imports import nearest
from hardy.models.library_net import LibraryNet, imported
from hardy.models.normalize import spec_of

SHAPING = ("in_chans", "num_classes", "img_size")
RATES = ("drop_rate", "drop_path_rate", "drop_block_rate")


def timm_net(name: str) -> LibraryNet:
    """timm's network NAME, or NAME.TAG for certain published weights. Raises ValueError as
    `library_net`."""
    timm = imported("timm")
    plain, _, tag = name.partition(".")
    if plain not in timm.list_models():
        raise ValueError(f"timm has no network {name!r}{nearest(plain, timm.list_models())}")
    if tag and name not in (tags := timm.list_pretrained(f"{plain}.*")):
        raise ValueError(f"timm has no weights {name!r}{nearest(name, tags)}")
    found = timm.get_pretrained_cfg(name)
    about: dict[str, Any] = found.to_dict() if found is not None else {}
    channels, height, _ = about.get("input_size") or (3, None, None)
    rows = about.get("num_classes")
    rows = 1000 if rows is None else rows  # 0: without a classifier, as DINOv2
    heads = about.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    mean, std = about.get("mean"), about.get("std")

    def make(
        num_classes: int, in_channels: int, input_size: int | None, pretrained: bool = False
    ) -> nn.Module:
        # Networks that are built for one size of picture say so, and only they take one.
        sized = input_size is not None and about.get("fixed_input_size")
        more = {"img_size": input_size} if sized else {}
        return timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **more
        )

    def make_published(
        num_classes: int, in_channels: int, input_size: int | None
    ) -> tuple[nn.Module, list[str]]:
        network = make(num_classes, in_channels, input_size, pretrained=True)
        renewed = tuple(f"{head}." for head in heads) if num_classes != rows else ()
        return network, [key for key in network.state_dict() if key.startswith(renewed)]

    spec = spec_of(mean, std) if mean and std else "imagenet"
    return LibraryNet(
        f"timm:{name}",
        rows or 1000,
        channels,
        spec,
        height,
        make,
        make_published,
        headless=not rows,
    )


def other_arguments(model: str, arguments: Mapping[str, Any]) -> str:
    """Those of `create_model` (the model_args of a config.json) with which timm:NAME has the same
    shapes and may compute otherwise, as 'output_stride=8, act_layer="gelu"', cut to one line.

    Left out are those that shapes tell, rates of dropping (they are of training), null (timm's
    'unset') and a pooling that the network has by its name: timm writes that of every network.
    """
    told = {
        key: value
        for key, value in arguments.items()
        if key not in SHAPING and value is not None and not key.endswith(RATES)
    }
    if "global_pool" in told:
        make = timm_net(model.partition(":")[2])
        try:
            with torch.device("meta"):
                network = make(num_classes=1, in_channels=3)
        except NotImplementedError:  # a few read numbers while they are built
            with torch.random.fork_rng(devices=[]):
                network = make(num_classes=1, in_channels=3)
        if told["global_pool"] == _pooling(network):
            del told["global_pool"]
    # json: whatever the file says stays one line.
    words = (f"{json.dumps(key)[1:-1]}={json.dumps(value)}" for key, value in told.items())
    return ", ".join(words)[:160]


def _pooling(network: nn.Module) -> str | None:
    """What a network of timm calls its pooling over places."""
    head = getattr(network, "head", None)  # where it pools, the network's own name may be stale
    for part in (getattr(head, "global_pool", None), head, getattr(network, "global_pool", None)):
        name = getattr(part, "pool_type", part)
        if isinstance(name, str):
            return name
    return None


def converted(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """A state dict of a network's authors under the names, and with the sizes, that timm has for
    them, by timm's own conversion (ConvNeXt, DeiT, Swin and others); None where there is none.

    network: one of timm's; a prefix that all names share is dropped first.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None or not type(network).__module__.startswith("timm."):
        return None
    while all("." in key for key in state) and len({key.split(".")[0] for key in state}) == 1:
        state = {key.partition(".")[2]: value for key, value in state.items()}
    try:
        found = convert(dict(state), network)
        return {key: value for key, value in found.items() if isinstance(value, Tensor)}
    except Exception:  # made for the files of some, it meets those of all
        return None
