"""State dicts from elsewhere: read without running their code, taken out of their wrapping,
and laid beside what a network expects.

People save the same weights in many forms: {'state_dict': ...}, 'module.' in front of every
name, the normalisation as the first layer of a Sequential. None of that is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hardy.models.normalize import in_units, spec_of

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "ema",
    "state_dict_ema",
    "model_ema",
    "params",
)
STATISTICS = (("mean", "std"), ("new_mean", "new_std"), ("mu", "sigma"))
# A stage that files of the TRADES family hold and no forward pass uses.
UNUSED = ("sub_block1",)
SHOWN = 8
PREFIX_NOTE = "dropped the prefix"

_RESAVE = (
    "re-save the weights where you trust the file, with "
    "torch.save(model.state_dict(), 'weights.pt')"
)


@dataclass
class Fit:
    """A file's state dict laid beside a network's.

    entries: the network's names to the file's tensors; normalize: the normalisation that the
    file holds beside the network, as a spec, and `source`, its names there; the lists name
    what is amiss; notes: sentences on what was dropped or left out.
    """

    entries: dict[str, Tensor]
    normalize: str | None = None
    source: str = ""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def misfit(self) -> str:
        """What is amiss, key by key, the first few of each kind."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.misshapen,
        }
        return "; ".join(f"{kind}: {shortened(names)}" for kind, names in kinds.items() if names)


def shortened(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def read_file(path: Path) -> tuple[Any, dict[str, str]]:
    """What a weights file holds, on the CPU, and its metadata (safetensors only).

    Raises ValueError where the file is missing, damaged, or needs code to be run.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a checkpoint")
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return _read_safetensors(path)
    return _read_pickle(path), {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {_line(error)}") from None


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        text = str(error)
        wanted = re.search(r"GLOBAL ([\w.]+)", text)
        if wanted or "Unsupported class" in text or "TorchScript" in text:
            what = f"{wanted[1]} called" if wanted else "code run"
            raise ValueError(
                f"{path} was refused: to read it, it wants {what}, and a checkpoint must hold "
                f"nothing but tensors and plain values; {_RESAVE}"
            ) from None
        # torch's own text here advises to load without the guard: not passed on.
        reason = "it holds no weights" if "Weights only" in text else _line(error)
        raise ValueError(
            f"{path} is damaged or not a checkpoint ({reason}): download or copy it again"
        ) from None


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


def unwrap(loaded: object, notes: list[str]) -> dict[str, Tensor]:
    """The state dict inside what was read; `notes` learns what was passed over.

    Raises ValueError where there is none.
    """
    while isinstance(loaded, Mapping):
        held = [key for key in WRAPPERS if isinstance(loaded.get(key), Mapping) and loaded[key]]
        if not held:
            break
        if len(held) > 1:
            notes.append(f"took {held[0]!r}; the file also holds {', '.join(held[1:])}")
        loaded = loaded[held[0]]
    found = loaded if isinstance(loaded, Mapping) else {}
    state = {str(key): value.detach() for key, value in found.items() if isinstance(value, Tensor)}
    if not state:
        what = ", ".join(str(key) for key in list(found)[:SHOWN]) or type(loaded).__name__
        raise ValueError(f"the file holds no state dict (names to tensors), only {what}: {_RESAVE}")
    return state


def fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], unused: Sequence[str] = ()
) -> Fit:
    """Lay a file's state dict beside the one that a network expects (its shapes only).

    unused: parts of the network, by their first name, that files hold and it does not use here.
    """
    prefix, rivals = _prefix(state, expected)
    inside = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    result = Fit({key: value for key, value in inside.items() if key in expected})
    for key, value in expected.items():
        if key not in inside:
            # Counters came with torch 0.4.1; nothing is computed from them.
            if not key.endswith("num_batches_tracked"):
                result.missing.append(key)
        elif inside[key].shape != value.shape:
            result.misshapen.append(
                f"{key} file {tuple(inside[key].shape)} net {tuple(value.shape)}"
            )
    if prefix:
        result.notes.append(f"{PREFIX_NOTE} {prefix!r}")
    left = [
        key
        for key in state
        if key.removeprefix(prefix) not in result.entries or not key.startswith(prefix)
    ]
    left = _take_normalization(state, left, result)
    _sort_out(state, left, prefix, rivals, (*UNUSED, *unused), result)
    return result


def _prefix(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """The prefix under which most expected names are found, and others that do as well.

    A tie goes to the one that stands first in the file.
    """
    votes: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in expected:
                votes["".join(part + "." for part in parts[:i])] += 1
    if not votes:
        return "", []
    most = max(votes.values())
    first, *rivals = [prefix for prefix, count in votes.items() if count == most]
    return first, rivals


def _take_normalization(state: Mapping[str, Tensor], left: list[str], result: Fit) -> list[str]:
    """Read a mean and a std that lie side by side; the names that remain."""
    for names in STATISTICS:
        for key in left:
            parent, dot, name = key.rpartition(".")
            other = parent + dot + names[1]
            if name != names[0] or other not in left:
                continue
            if not (_per_channel(state[key]) and state[key].shape == state[other].shape):
                continue
            left = [rest for rest in left if rest not in (key, other)]
            values = [state[each].flatten().tolist() for each in (key, other)]
            statistics, scaled = in_units(*values)
            spec = spec_of(*statistics)
            if result.normalize is None:
                result.normalize, result.source = spec, f"{key} and {other}"
                if scaled:
                    result.notes.append(
                        f"{result.source} are of pixels from 0 to 255: both were divided by 255"
                    )
            elif result.normalize != spec:
                result.notes.append(f"left out {key} and {other}, another normalisation")
    return left


def _per_channel(value: Tensor) -> bool:
    """Whether a tensor is shaped (C,), (C, 1, 1) or (1, C, 1, 1)."""
    shape = tuple(value.shape)
    return value.ndim in (1, 3, 4) and (
        shape in ((value.numel(),), (value.numel(), 1, 1), (1, value.numel(), 1, 1))
    )


def _sort_out(
    state: Mapping[str, Tensor],
    left: list[str],
    prefix: str,
    rivals: list[str],
    names: Sequence[str],
    result: Fit,
) -> None:
    """What the network did not ask for is unexpected, unless it is known to be unused or
    lies beside a network that is complete without it (a teacher, an optimizer's average)."""
    unused = [key for key in left if key.removeprefix(prefix).split(".")[0] in names]
    outside = [key for key in left if not key.startswith(prefix) and key not in unused]
    result.unexpected += [key for key in left if key not in unused and key not in outside]
    if not result.exact:
        result.unexpected += outside
        outside = []
    for name, count in Counter(key.removeprefix(prefix).split(".")[0] for key in unused).items():
        result.notes.append(f"left out {count} entries of {name}, which the network does not use")
    differing = [
        rival
        for rival in rivals
        if result.exact
        and any(
            not torch.equal(value, state.get(rival + key, value))
            for key, value in result.entries.items()
        )
    ]
    for rival in [rival for rival in rivals if result.exact and rival not in differing]:
        result.notes.append(f"left out {rival!r}, a copy of the same weights")
        outside = [key for key in outside if key.removeprefix(rival) not in result.entries]
    if differing:
        result.notes.append(
            f"the weights under {', '.join(repr(rival) for rival in differing)} fit as well "
            f"and differ: those under {prefix!r} were taken"
        )
    for name, count in Counter(key.split(".")[0] for key in outside).items():
        result.notes.append(f"left out {count} entries of {name}, beside the network")
