"""The networks of torchvision by name: its classifiers."""

from __future__ import annotations

from typing import Any

from torch import nn

from hardy.imports import nearest
from hardy.models.library_net import LibraryNet, imported
from hardy.models.normalize import spec_of


def torchvision_net(name: str) -> LibraryNet:
    """torchvision's network of that name, with its default published weights. Raises ValueError
    as `library_net`."""
    models = imported("torchvision.models")
    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"torchvision has no network {name!r}{nearest(name, names)}")
    weights = models.get_model_weights(name).DEFAULT
    like = weights.transforms()
    size = like.crop_size[0]
    # In training these two give the logits of side branches as well.
    usual = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}

    def make(num_classes: int, in_channels: int, input_size: int | None) -> nn.Module:
        more: dict[str, Any] = usual | ({"init_weights": True} if usual else {})
        if input_size is not None and name.startswith("vit_"):
            more["image_size"] = input_size
        network = models.get_model(name, weights=None, num_classes=num_classes, **more)
        return network if in_channels == 3 else _with_channels(network, in_channels)

    def make_published(
        num_classes: int, in_channels: int, input_size: int | None
    ) -> tuple[nn.Module, list[str]]:
        if in_channels != 3:
            raise ValueError(f"they are of 3 channels, not {in_channels}: use --channels 3")
        if name.startswith("vit_") and input_size not in (None, size):
            raise ValueError(f"they are of pictures of {size}×{size}: use --input-size {size}")
        network = make(num_classes, in_channels, None)
        own = network.state_dict()
        given = models.get_model(name, weights=weights, **usual).state_dict()
        taken = {key: given[key] for key in own if given[key].shape == own[key].shape}
        network.load_state_dict(own | taken)
        return network, [key for key in own if key not in taken]

    rows, spec = len(weights.meta["categories"]), spec_of(like.mean, like.std)
    return LibraryNet(f"torchvision:{name}", rows, 3, spec, size, make, make_published)


def _with_channels(network: nn.Module, in_channels: int) -> nn.Module:
    """The network with its first convolution made anew for that many channels."""
    name, old = next(
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == 3
    )
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        _pair(old.kernel_size),
        _pair(old.stride),
        old.padding if isinstance(old.padding, str) else _pair(old.padding),
        bias=old.bias is not None,
    )
    owner, _, last = name.rpartition(".")
    setattr(network.get_submodule(owner), last, new)
    return network


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second
