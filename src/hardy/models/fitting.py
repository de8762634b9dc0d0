"""Which network a state dict is of, and filling it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardy.models.architecture import ZOO, Architecture, available
from hardy.models.normalize import Normalize, Normalized, normalizer
from hardy.models.state_dicts import Fit, fit, shortened
from hardy.weights import not_finite


@dataclass(frozen=True)
class Given:
    """What is known of the network besides its name: from the user, or from our own file."""

    num_classes: int | None
    in_channels: int | None
    normalize: str | None


def fill(
    model: nn.Module, state: Mapping[str, Tensor], given: Given
) -> tuple[nn.Module, Architecture, Fit]:
    """Load a state dict into a network that the user made."""
    found = fit(state, _inner(model).state_dict())
    if not found.exact:
        raise ValueError(f"the weights do not fit {type(model).__name__}: {found.misfit()}")
    rows, channels = _sizes(_inner(model), found)
    kind = type(model)
    own = [module for module in model.modules() if isinstance(module, Normalize)]
    architecture = Architecture(
        model=f"{kind.__module__}:{kind.__qualname__}",
        num_classes=given.num_classes or rows or 1,
        in_channels=given.in_channels or channels or 1,
        # A network that normalises must not be given a second normalisation.
        normalize=own[0].extra_repr() if own else _normalize(found, given, "none"),
    )
    _put(found, model)
    if architecture.normalize != "none" and not own:
        model = Normalized(normalizer(architecture.normalize, architecture.in_channels), model)
    return model, architecture, found


def build(
    model: str | None, state: Mapping[str, Tensor], given: Given
) -> tuple[nn.Module, Architecture, Fit]:
    """Build the named network, or the only built-in one that fits, and load it."""
    if model is None:
        model = _detect(state, given)
    architecture, found = _fitted(model, state, given)
    if not found.exact:
        raise ValueError(
            f"the weights do not fit {model}: {found.misfit()}{_better(model, state, given)}"
        )
    network = architecture.build()
    _put(found, network)
    return network, architecture, found


def _fitted(model: str, state: Mapping[str, Tensor], given: Given) -> tuple[Architecture, Fit]:
    """The architecture with sizes and normalisation as the file has them, and its fit."""
    architecture = Architecture.of(
        model,
        num_classes=given.num_classes,
        in_channels=given.in_channels,
        normalize="none",  # it has no names in a state dict, and the channels are yet unknown
    )
    shell = _shell(architecture)
    found = fit(state, _inner(shell).state_dict())
    rows, channels = _sizes(_inner(shell), found)
    sized = replace(
        architecture,
        num_classes=given.num_classes or rows or architecture.num_classes,
        in_channels=given.in_channels or channels or architecture.in_channels,
    )
    if sized != architecture:
        found = fit(state, _inner(_shell(sized)).state_dict())
    default = Architecture.of(model).normalize
    return replace(sized, normalize=_normalize(found, given, default)), found


def _normalize(found: Fit, given: Given, default: str) -> str:
    """The normalisation: what the user says, else what lies in the file, else the default."""
    if found.normalize and given.normalize in (None, found.normalize):
        found.notes.append(f"normalisation {found.normalize} taken from the file's {found.source}")
    elif found.normalize:
        found.notes.append(
            f"the file's {found.source} say {found.normalize}: not used, as "
            f"{given.normalize} was given"
        )
    elif given.normalize is None:
        found.notes.append(
            f"the file holds no normalisation: {default} is used, the network's "
            f"default; pass --normalize if it was trained with another"
        )
    return given.normalize or found.normalize or default


def _shell(architecture: Architecture) -> nn.Module:
    """The network for its names and shapes only; ours costs no memory and little time."""
    return _outline(architecture) if architecture.model in ZOO else architecture.build()


@functools.lru_cache(maxsize=64)
def _outline(architecture: Architecture) -> nn.Module:
    with torch.device("meta"):
        return architecture.build()


def _inner(model: nn.Module) -> nn.Module:
    """The network behind a normalisation that stands apart: what a file's names are of."""
    return model.model if isinstance(model, Normalized) else model


def _sizes(model: nn.Module, found: Fit) -> tuple[int | None, int | None]:
    """The classes and channels that a file's shapes tell: the rows of the last linear map
    and the columns of the first convolution."""
    rows, channels = None, None
    for name, module in model.named_modules():
        weight = found.entries.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(module, nn.Conv2d) and weight.ndim == 4 and channels is None:
            channels = weight.shape[1] * module.groups
        if isinstance(module, nn.Linear) and weight.ndim == 2:
            rows = weight.shape[0]
    return rows, channels


def _matching(state: Mapping[str, Tensor], given: Given) -> list[Architecture]:
    """The built-in networks that a file fits name by name and shape by shape."""
    tried = [_fitted(name, state, given) for name in available()]
    return [architecture for architecture, found in tried if found.exact]


def _detect(state: Mapping[str, Tensor], given: Given) -> str:
    matching = [architecture.model for architecture in _matching(state, given)]
    if len(matching) == 1:
        return matching[0]
    fitting = (
        f"several networks fit: {', '.join(matching)}"
        if matching
        else (f"it fits none of {', '.join(available())}")
    )
    raise ValueError(
        f"the file does not say which network it is of, and {fitting}; pass --model with a "
        f"name or an import path such as mynets:make (the file begins with "
        f"{shortened([f'{key} {tuple(value.shape)}' for key, value in state.items()])})"
    )


def _better(model: str, state: Mapping[str, Tensor], given: Given) -> str:
    """Which built-in network would have fitted, as the end of an error."""
    for other in _matching(state, Given(None, None, given.normalize)):
        if other.model != model:
            return f"; it fits {other.model}: pass --model {other.model}"
        return (
            f"; it fits {model} with {other.num_classes} classes and {other.in_channels} channels"
        )
    return ""


def _put(found: Fit, network: nn.Module) -> None:
    """Copy weights into a network, in float32 or, where the file is, float64."""
    broken = not_finite(found.entries)
    if broken:
        raise ValueError(
            f"NaN or infinity in {shortened(broken)}: the training that wrote it broke down; "
            f"take an earlier checkpoint"
        )
    types = {value.dtype for value in found.entries.values() if value.is_floating_point()}
    network.to(torch.float64 if torch.float64 in types else torch.float32)
    halves = [str(kind).removeprefix("torch.") for kind in types if kind.itemsize < 4]
    if halves:
        found.notes.append(f"weights stored as {', '.join(sorted(halves))} are computed in float32")
    inner = _inner(network)
    inner.load_state_dict(inner.state_dict() | found.entries)
