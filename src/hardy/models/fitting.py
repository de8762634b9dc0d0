"""Which network a state dict is of, and filling it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardy.models.architecture import ZOO, Architecture, available
from hardy.models.libraries import is_library_name, library_net
from hardy.models.norm import NormLayer, with_norm
from hardy.models.normalize import Normalized, canonical, must_be_own, own_of
from hardy.models.resized import Resize, fronted
from hardy.models.state_dicts import Fit, fit, shortened
from hardy.models.timm_nets import converted
from hardy.weights import not_finite

# What the libraries call their plain ResNets, which have the same names and shapes in both.
RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x8d",
)


@dataclass(frozen=True)
class Given:
    """What is known of the network besides its name: from the user, or from our own file.

    said: the normalisation, where there is one, is the user's word.
    """

    num_classes: int | None
    in_channels: int | None
    normalize: str | None
    input_size: int | None = None
    said: bool = True
    norm: NormLayer | None = None


def fill(
    model: nn.Module, state: Mapping[str, Tensor], given: Given
) -> tuple[nn.Module, Architecture, Fit]:
    """Load a state dict into a network that the user made; into a copy, where its normalisation
    is to be of another kind."""
    kind = type(model)
    if given.norm is not None:
        model = with_norm(model, given.norm)
    found = fit(state, _inner(model).state_dict())
    if not found.exact:
        raise ValueError(f"the weights do not fit {kind.__name__}: {found.misfit()}")
    rows, channels = _sizes(_inner(model), found)
    own = _own(model, found, given)
    resizing = [module.size for module in model.modules() if isinstance(module, Resize)]
    architecture = Architecture(
        model=f"{kind.__module__}:{kind.__qualname__}",
        num_classes=given.num_classes or rows or 1,
        in_channels=given.in_channels or channels or 1,
        normalize=own or _normalize(found, given, "none"),
        input_size=resizing[0] if resizing else given.input_size,
        norm=given.norm,
    )
    _put(found, model)
    front = fronted(
        model,
        architecture.in_channels,
        normalize="none" if own else architecture.normalize,
        input_size=None if resizing else architecture.input_size,
    )
    return front, architecture, found


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


def _fitted(
    model: str, state: Mapping[str, Tensor], given: Given, *, convert: bool = True
) -> tuple[Architecture, Fit]:
    """The architecture with sizes and normalisation as the file has them, and its fit; if need be
    under the names that a library converts to its own."""
    usual = Architecture.of(
        model,
        num_classes=given.num_classes,
        in_channels=given.in_channels,
        normalize="none",  # it has no names in a state dict, and the channels are yet unknown
    )
    architecture = replace(usual, input_size=given.input_size, norm=given.norm)
    shell = _shell(architecture)
    unused = library_net(model).unused if is_library_name(model) else ()
    found = fit(state, _inner(shell).state_dict(), unused)
    rows, channels = _sizes(_inner(shell), found)
    if is_library_name(model) and _first_takes(shell) != architecture.in_channels:
        channels = None  # pixels are rearranged before that convolution
    sized = replace(
        architecture,
        num_classes=given.num_classes or rows or architecture.num_classes,
        in_channels=given.in_channels or channels or architecture.in_channels,
    )
    if sized != architecture:
        shell = _shell(sized)
        found = fit(state, _inner(shell).state_dict(), unused)
    if convert and not found.exact and (own := converted(_inner(shell), state)) is not None:
        architecture, converted_fit = _fitted(model, own, given, convert=False)
        if converted_fit.exact:
            converted_fit.notes.append("the file's names were converted to its own by timm")
            return architecture, converted_fit
    default = Architecture.of(model).normalize
    normalize = _own(shell, found, given) or _normalize(found, given, default)
    return replace(sized, normalize=normalize), found


def _own(model: nn.Module, found: Fit, given: Given) -> str | None:
    """The normalisation that a network made without one does by itself, None where it does none:
    it must not be given a second. The notes learn what else was said.

    Raises ValueError where the user wants another ('none': none before it).
    """
    own = own_of(model)
    if own is None:
        return None
    if given.said:
        must_be_own(own, given.normalize)
    wanted = None if given.normalize is None else canonical(given.normalize)
    if wanted == "none" and given.said:
        found.notes.append(f"none is put before the network, which itself normalises by {own}")
    told = {"description": None if given.said else wanted, found.source: found.normalize}
    for source, spec in told.items():
        if spec not in (None, "none", own):
            found.notes.append(
                f"normalisation {spec} of the file's {source} was not used, as the network itself "
                f"normalises by {own}"
            )
    return own


def _normalize(found: Fit, given: Given, default: str) -> str:
    """The normalisation: what the user says, else what lies in the file, else what is said of it,
    else the default."""
    if found.normalize and not given.said:
        given = replace(given, normalize=None)
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
    """The network for its names and shapes only, where it can be at no cost of memory or time."""
    if architecture.model not in ZOO and not is_library_name(architecture.model):
        return architecture.build()
    try:
        return _outline(architecture)
    except NotImplementedError:  # a few of the libraries' read numbers while they are built
        return architecture.build()


@functools.lru_cache(maxsize=64)
def _outline(architecture: Architecture) -> nn.Module:
    with torch.device("meta"):
        return architecture.build()


def _inner(model: nn.Module) -> nn.Module:
    """The network behind a normalisation or a resizing that stands apart: what a file's names
    are of."""
    while isinstance(model, Normalized):
        model = model.model
    return model


def _sizes(model: nn.Module, found: Fit) -> tuple[int | None, int | None]:
    """The classes and channels that a file's shapes tell: the rows of the last linear map (of
    the last convolution where there is none) and the columns of the first convolution."""
    rows, channels, last = None, None, None
    for name, module in model.named_modules():
        weight = found.entries.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(module, nn.Conv2d) and weight.ndim == 4:
            channels = channels or weight.shape[1] * module.groups
            last = weight.shape[0]
        if isinstance(module, nn.Linear) and weight.ndim == 2:
            rows = weight.shape[0]
    return rows or last, channels


def _first_takes(model: nn.Module) -> int | None:
    found = (module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    return next(found, None)


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
    advice = ""
    try:
        if other := _library_resnet(state, given, "timm"):
            advice = f"it fits {other.model}: pass --model {other.model}; else "
    except ValueError as error:  # the library is not there, or broken
        advice = f"its names are those of a ResNet of timm ({error}); "
    raise ValueError(
        f"the file does not say which network it is of, and {fitting}; {advice}pass --model "
        f"with a name or an import path such as mynets:make (the file begins with "
        f"{shortened([f'{key} {tuple(value.shape)}' for key, value in state.items()])})"
    )


def _library_resnet(state: Mapping[str, Tensor], given: Given, library: str) -> Architecture | None:
    """The library's ResNet that a file fits. For advice only: networks with other strides or
    with blurred pooling have the same names and shapes."""
    ends = ("layer1.0.conv1.weight", "fc.weight")
    if not all(any(key.endswith(end) for key in state) for end in ends):
        return None
    for name in RESNETS:
        architecture, found = _fitted(f"{library}:{name}", state, given)
        if found.exact:
            return architecture
    return None


def _better(model: str, state: Mapping[str, Tensor], given: Given) -> str:
    """Which network would have fitted, as the end of an error."""
    unsaid = Given(None, None, given.normalize)
    fitting = _matching(state, unsaid)
    if is_library_name(model):
        other = _library_resnet(state, unsaid, model.partition(":")[0])
        fitting += [other] if other else []
    for other in fitting:
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
