"""Networks of timm and torchvision by name: `timm:resnet50`, `torchvision:vit_b_16`.

Only names out of the library's own list are taken, never a path or another source, so a name
chooses among installed networks and brings no code. Both are extras: hardy[vision].
"""

from __future__ import annotations

from collections.abc import Callable

from hardy.models.library_net import LibraryNet
from hardy.models.timm_nets import timm_net
from hardy.models.torchvision_nets import torchvision_net

LIBRARIES: dict[str, Callable[[str], LibraryNet]] = {
    "timm": timm_net,
    "torchvision": torchvision_net,
}


def is_library_name(model: str) -> bool:
    """Whether a name is meant as one of a library's: by its prefix alone, nothing is imported."""
    return model.partition(":")[0] in LIBRARIES


def library_net(model: str) -> LibraryNet:
    """The network of that name, `timm:NAME` (NAME.TAG for certain published weights) or
    `torchvision:NAME`.

    Raises ValueError where the library is missing or broken, or, with the nearest names, where
    it has no such network.
    """
    library, _, name = model.partition(":")
    return LIBRARIES[library](name)
