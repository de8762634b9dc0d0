"""Networks by name: enough to build one again, and small enough to be stored beside weights."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn

from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.normalize import Normalized, normalizer
from hardy.models.preact_resnet import preact_resnet18
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
    network whose function takes no normalize is put behind the normalisation.
    """

    model: str
    num_classes: int
    in_channels: int
    normalize: str

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.in_channels < 1:
            raise ValueError(
                f"a network needs at least one class and one channel, not {self.num_classes} "
                f"and {self.in_channels}"
            )

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
        if "normalize" in takes or self.normalize == "none":
            return model
        return Normalized(normalizer(self.normalize, self.in_channels), model)


def factory(model: str) -> Callable[..., nn.Module]:
    """The function that makes a network, by its built-in name or import path.

    Raises ValueError, with the nearest names, where there is none.
    """
    if model in ZOO:
        return ZOO[model]
    if ":" not in model or model.startswith("timm:"):
        raise ValueError(
            f"model must be one of {', '.join(ZOO)} or an import path such as "
            f"mynets:make, not {model!r}{_nearest(model, ZOO)}"
        )
    module_name, _, name = model.partition(":")
    module = _module(module_name)
    if not callable(getattr(module, name, None)):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"{module_name} has no function {name!r}{_nearest(name, names)}")
    return getattr(module, name)


@dataclass(frozen=True)
class _Defaults:
    """Which of our keywords a function takes, and what it takes them to be."""

    takes: tuple[str, ...]
    num_classes: int
    in_channels: int
    normalize: str


def _defaults(make: Callable[..., object]) -> _Defaults:
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


def _module(name: str) -> ModuleType:
    """Import a module, the current directory first on the path."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"{name!r} is not the name of a module: write mynets:make, or package.mynets:make"
        )
    with _here_on_path() as here:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            # The module itself, or a parent of it, is not there ...
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                near = [module.name for module in pkgutil.iter_modules([here])]
                raise ValueError(
                    f"there is no module {name!r} on the path or in the current "
                    f"directory{_nearest(name, near)}"
                ) from None
            # ... or it is, and needs another.
            raise ValueError(f"module {name!r} cannot be imported: {error}") from error


@contextmanager
def _here_on_path() -> Iterator[str]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield here
    finally:
        sys.path.remove(here)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3)
    return f" (nearest: {', '.join(near)})" if near else ""
