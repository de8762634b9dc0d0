"""The networks of torchvision by name: its classifiers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hardy.imports import nearest
from hardy.models.library_net import LibraryNet, imported
from hardy.models.normalize import spec_of
from hardy.models.state_dicts import shortened

# In training these two give the logits of side branches as well, which are left out here.
SIDE_BRANCHES = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def torchvision_net(name: str) -> LibraryNet:
    """torchvision's network of that name, with its default published weights. Raises ValueError
    as `library_net`."""
    models = imported("torchvision.models")
    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"torchvision has no network {name!r}{nearest(name, names)}")
    weights = models.get_model_weights(name).DEFAULT
    like = weights.transforms()
    size, rows = like.crop_size[0], len(weights.meta["categories"])
    branches = SIDE_BRANCHES.get(name, ())

    def make(num_classes: int, in_channels: int, input_size: int | None) -> nn.Module:
        more: dict[str, Any] = {}
        if branches:
            # Their published weights take pixels from -1 to 1: from what the normalisation gives
            # torchvision makes them so, inside the network, for three channels.
            more = {"aux_logits": False, "init_weights": True, "transform_input": in_channels == 3}
        if name.startswith("vit_"):
            more["image_size"] = size if input_size is None else input_size
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
        given = models.get_model(name, weights=weights).state_dict()
        new = [key for key in own if key not in given or given[key].shape != own[key].shape]
        other = [key for key in new if not _of_classes(own[key], given.get(key), num_classes, rows)]
        if other:
            raise ValueError(f"they do not fit the network in {shortened(other)}")
        network.load_state_dict({key: own[key] if key in new else given[key] for key in own})
        return network, new

    spec = spec_of(like.mean, like.std)
    return LibraryNet(
        f"torchvision:{name}", rows, 3, spec, size, make, make_published, unused=branches
    )


def _of_classes(own: Tensor, given: Tensor | None, num_classes: int, rows: int) -> bool:
    """Whether an entry and the published one differ in the number of classes only."""
    expected = (rows, *own.shape[1:])
    return given is not None and own.shape[:1] == (num_classes,) and given.shape == expected


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
