"""Networks by name: enough to build one again, and small enough to be stored beside weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hardy.imports import named, nearest
from hardy.models.libraries import is_library_name, library_net
from hardy.models.library_net import LibraryNet
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.norm import NAMES, NormLayer, must_be_kind, with_norm
from hardy.models.normalize import Normalize
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resized import fronted
from hardy.models.resnet import resnet18, resnet34, slim_resnet18, thin_resnet18
from hardy.models.small import mnist_cnn, resnet2b, small_resnet
from hardy.models.wide_resnet import wrn28_10, wrn34_10

ZOO: dict[str, Callable[..., nn.Module]] = {
    make.__name__: make
    for make in (
        small_resnet,
        resnet18,
        resnet34,
        thin_resnet18,
        slim_resnet18,
        preact_resnet18,
        wrn28_10,
        wrn34_10,
        mobilenetv2,
        resnet2b,
        mnist_cnn,
    )
}


def available() -> tuple[str, ...]:
    """The names of the networks that are built in."""
    return tuple(ZOO)


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    model: a built-in name or an import path `package.module:function`, where the current
    directory counts as on the path. The function is called with those of the keywords
    num_classes, in_channels and normalize (a string, see normalize.py) that it takes; a
    network whose function takes no normalize is put behind the normalisation, unless it holds a
    `Normalize` of its own. input_size: the
    height and width to which it resizes pictures itself, see resized.py; None: it takes them as
    they are. norm: the kind of normalisation in the place of the network's own, see norm.py; None:
    its own.
    """

    model: str
    num_classes: int
    in_channels: int
    normalize: str
    input_size: int | None = None
    norm: NormLayer | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.in_channels < 1:
            raise ValueError(
                f"a network needs at least one class and one channel, not {self.num_classes} "
                f"and {self.in_channels}"
            )
        if self.input_size is not None and self.input_size < 1:
            raise ValueError(f"an input size must be at least 1 pixel, not {self.input_size}")
        if self.norm is not None:
            must_be_kind(self.norm)

    @classmethod
    def of(
        cls,
        model: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        normalize: str | None = None,
    ) -> Architecture:
        """The architecture with what is not given as the network's own function has it."""
        default = _defaults(factory(model))
        return cls(
            model,
            default.num_classes if num_classes is None else num_classes,
            default.in_channels if in_channels is None else in_channels,
            default.normalize if normalize is None else normalize,
        )

    @property
    def title(self) -> str:
        """Its name for people: the model, and the normalisation where that is not its own."""
        return self.model if self.norm is None else f"{self.model} with {NAMES[self.norm]}"

    def described(self) -> dict[str, Any]:
        """As JSON: the fields, but for an input size or a normalisation that it does not have."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def build(self) -> nn.Module:
        """A new network, pixels (B, in_channels, H, W) to logits (B, num_classes), its
        weights drawn from torch's global generator (same seed, same weights).

        Raises ValueError where there is no such network or what is made is not a Module.
        """
        make = factory(self.model)
        takes = _defaults(make).takes
        arguments = {name: getattr(self, name) for name in takes}
        try:
            inspect.signature(make).bind(**arguments)
        except TypeError as error:
            raise ValueError(
                f"{self.model} cannot be called with {', '.join(takes) or 'no arguments'} "
                f"({error}): give its other arguments defaults"
            ) from None
        model = make(**arguments)
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"{self.model} must return a torch.nn.Module, not {type(model).__name__}"
            )
        # A network that normalises by itself must not be given a second normalisation.
        own = any(isinstance(module, Normalize) for module in model.modules())
        if self.norm is not None:
            model = with_norm(model, self.norm)
        outside = "none" if own or "normalize" in takes else self.normalize
        return fronted(model, self.in_channels, normalize=outside, input_size=self.input_size)


def factory(model: str) -> Callable[..., nn.Module]:
    """The function that makes a network, by its built-in name, that in a library, or its import
    path.

    Raises ValueError, with the nearest names, where there is none.
    """
    if model in ZOO:
        return ZOO[model]
    if is_library_name(model):
        return library_net(model)
    if ":" not in model:
        raise ValueError(
            f"model must be one of {', '.join(ZOO)}, timm:NAME, torchvision:NAME or an import "
            f"path such as mynets:make, not {model!r}{nearest(model, ZOO)}"
        )
    return named(model, "mynets:make")


@dataclass(frozen=True)
class _Defaults:
    """Which of our keywords a function takes, and what it takes them to be."""

    takes: tuple[str, ...]
    num_classes: int
    in_channels: int
    normalize: str


def _defaults(make: Callable[..., object]) -> _Defaults:
    if isinstance(make, LibraryNet):
        takes = ("num_classes", "in_channels", "input_size")
        return _Defaults(takes, make.num_classes, make.in_channels, make.normalize)
    parameters = inspect.signature(make).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    values: dict[str, int | str] = {"num_classes": 10, "in_channels": 3, "normalize": "none"}
    takes = []
    for name, usual in values.items():
        if name not in parameters:
            # **keywords are passed on to we do not know whom: normalize stays with us.
            if takes_all and name != "normalize":
                takes.append(name)
            continue
        default = parameters[name].default
        # A default of another type (normalize=True) means something else by that name.
        if default is inspect.Parameter.empty or default is None:
            takes.append(name)
        elif type(default) is type(usual):
            takes.append(name)
            values[name] = default
    return _Defaults(
        tuple(takes),
        int(values["num_classes"]),
        int(values["in_channels"]),
        str(values["normalize"]),
    )
