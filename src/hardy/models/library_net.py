"""What a network of timm or torchvision is here, whichever of them it is from."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from torch import nn

PACKAGES = ("timm", "torchvision")
# (num_classes, in_channels, input_size) -> the network, without normalisation
Make = Callable[[int, int, int | None], nn.Module]
# The same with published weights, and the names of the entries that are new.
MakePublished = Callable[[int, int, int | None], tuple[nn.Module, list[str]]]


@dataclass(frozen=True)
class LibraryNet:
    """The function of a library's network, and what the library's published weights are of.

    num_classes, in_channels, normalize: theirs (1,000 classes, 3 channels, 'imagenet' where the
    library does not say); size: the height and width of their pictures, None where unsaid.
    headless: they are published without a classifier, and num_classes is only what is built where
    no number is asked for. unused: parts, by their first name, that files of it hold and that are
    left out here.
    """

    model: str
    num_classes: int
    in_channels: int
    normalize: str
    size: int | None
    make: Make
    make_published: MakePublished
    headless: bool = False
    unused: tuple[str, ...] = ()

    def __call__(
        self, num_classes: int, in_channels: int, input_size: int | None = None
    ) -> nn.Module:
        """A new network with weights from torch's global generator. input_size: of the pictures
        that it will get, for networks that are built for one (ViT); None: as published."""
        return self.make(num_classes, in_channels, input_size)

    def published(
        self, num_classes: int, in_channels: int, input_size: int | None = None
    ) -> tuple[nn.Module, list[str]]:
        """The network with the library's published weights, which it downloads once and keeps,
        and the names of the entries that are new because the number of classes is another or
        there was no classifier.

        Raises ValueError where the weights do not exist, do not fit or cannot be had.
        """
        try:
            return self.make_published(num_classes, in_channels, input_size)
        except Exception as error:  # of the network, the disk and the library, as they come
            lines = str(error).strip().splitlines() or [type(error).__name__]
            said = textwrap.shorten(lines[0], 160, placeholder=" …")
            raise ValueError(
                f"the published weights of {self.model} cannot be loaded ({said}): "
                "without internet fetch them elsewhere, and give --checkpoint FILE --model "
                f"{self.model} in place of --pretrained"
            ) from error


def imported(name: str) -> ModuleType:
    """A library of the extra hardy[vision].

    Raises ValueError where it is not installed, or is of another build than torch.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in PACKAGES:
            raise ValueError(
                f"{name}: networks need the package {error.name}: pip install 'hardy[vision]'"
            ) from None
        raise ValueError(f"{name} cannot be imported: {error}") from error
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        # A second try to import a torchvision that failed fails in another way.
        if "torchvision" not in str(error):
            raise ValueError(f"{name} cannot be imported: {error}") from error
        raise ValueError(
            f"torchvision is of another build than torch ({error}): beside a torch for CPUs "
            "pip install --force-reinstall --no-deps torchvision --index-url "
            "https://download.pytorch.org/whl/cpu"
        ) from error
