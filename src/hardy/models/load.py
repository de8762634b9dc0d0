"""Checkpoints: our own, which say what they are, and those from elsewhere.

    >>> model = load(Path("runs/first"))  # our own: nothing to say
    >>> found = read_checkpoint(Path("trades.pt"), model="wrn34_10")

Nothing in a file is ever run: pickles are read as weights only, and a network that is named
by an import path must be named again by the user. A network of timm or torchvision need not be:
its name is looked up in the installed library's own list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from hardy.files import written_whole
from hardy.models.architecture import ZOO, Architecture
from hardy.models.fitting import Given, build, fill
from hardy.models.hub import Held, fetch, is_hub
from hardy.models.libraries import is_library_name
from hardy.models.state_dicts import PREFIX_NOTE, read_file, shortened, unwrap
from hardy.models.timm_nets import other_arguments

BEST = "best.safetensors"


@dataclass
class Checkpoint:
    """A network with its weights, and where they come from.

    model: in eval mode, float32 (float64 where the file is). architecture: for a network that
    was handed in as a Module, `model` is the import path of its class. classes: their names,
    None where the file does not say. extra: what was saved beside the weights. ours: written
    by `save`. notes: sentences on what was done to make the file fit. source: the repository and
    commit that it was downloaded from; empty for files of this machine.
    """

    model: nn.Module
    architecture: Architecture
    classes: tuple[str, ...] | None
    extra: dict[str, Any]
    ours: bool
    notes: list[str]
    source: str = ""


def save(
    path: Path,
    model: nn.Module,
    architecture: Architecture,
    *,
    classes: Sequence[str],
    extra: Mapping[str, Any],
) -> None:
    """Write a network's weights as safetensors, with all that `read_checkpoint` needs.

    classes: the names of the classes, or none. extra: anything that is JSON. The file is
    written whole. Raises ValueError where the names do not match the number of classes.
    """
    if classes and len(classes) != architecture.num_classes:
        raise ValueError(
            f"a network of {architecture.num_classes} classes needs as many class names, "
            f"not {len(classes)}"
        )
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    state = {
        key: value.detach().to("cpu", copy=True).contiguous()
        for key, value in model.state_dict().items()
    }
    about = {
        "architecture": architecture.described(),
        "classes": list(classes),
        "extra": dict(extra),
    }
    # One entry: safetensors writes several in random order, and equal runs give equal bytes.
    metadata = {"hardy": json.dumps(about, allow_nan=False)}
    with written_whole(path) as part:
        save_file(state, part, metadata)


def load(
    path: Path | str,
    *,
    model: str | nn.Module | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    normalize: str | None = None,
    input_size: int | None = None,
    map_location: str | torch.device = "cpu",
) -> nn.Module:
    """The network of a checkpoint, in eval mode; see `read_checkpoint`."""
    return read_checkpoint(
        path,
        model=model,
        num_classes=num_classes,
        in_channels=in_channels,
        normalize=normalize,
        input_size=input_size,
        map_location=map_location,
    ).model


def read_checkpoint(
    path: Path | str,
    *,
    model: str | nn.Module | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    normalize: str | None = None,
    input_size: int | None = None,
    map_location: str | torch.device = "cpu",
) -> Checkpoint:
    """Read a checkpoint: our own file or run folder, or a state dict from elsewhere, a file of
    this machine or one of the hub (`hub:owner/name`, see hub.py).

    model: a built-in name, that of a library's network (timm:resnet50), an import path, or a
    Module, which is filled in place (and put behind the normalisation, where there is one), or
    as a copy where our own file is of another kind of normalisation layers (see norm.py);
    None asks the file. What else is not given is read off the file: the classes and channels
    from shapes, the normalisation from a mean and a std beside the network, else the network's
    own default. input_size: to which the network resizes pictures; None: as our own file says,
    else not at all. torch's random state is left as it was.

    Raises ValueError, naming the file, where it is missing, damaged, unsafe, holds NaN or
    does not fit the network.
    """
    held = fetch(path) if is_hub(path) else None
    path = _file(Path(path)) if held is None else held.file
    notes = [] if held is None else [f"downloaded from {held.source}"]
    try:
        loaded, metadata = read_file(path)
        state = unwrap(loaded, notes)
        given = Given(num_classes, in_channels, normalize, input_size)
        about = _about(metadata)
        if about:
            stored: Architecture = about["architecture"]
            model = _allowed(stored.model) if model is None else model
            given = Given(
                stored.num_classes if num_classes is None else num_classes,
                stored.in_channels if in_channels is None else in_channels,
                stored.normalize if normalize is None else normalize,
                stored.input_size if input_size is None else input_size,
                said=normalize is not None,
                norm=stored.norm,
            )
        elif held is not None and held.model is not None:
            usual = held.normalize if normalize is None else normalize
            given = Given(num_classes, in_channels, usual, input_size, said=normalize is not None)
            notes += _of_config(held, model, normalize)
            model = held.model if model is None else model
        with torch.random.fork_rng(devices=[]):
            if isinstance(model, nn.Module):
                network, architecture, found = fill(model, state, given)
            else:
                network, architecture, found = build(model, state, given)
    except ValueError as error:
        raise ValueError(_named(str(error), path, held)) from None
    # In our own files the prefix is that of the network's front.
    said = [note for note in found.notes if not (about and note.startswith(PREFIX_NOTE))]
    return Checkpoint(
        model=network.to(map_location).eval(),
        architecture=architecture,
        classes=tuple(about["classes"]) or None if about else None,
        extra=about["extra"] if about else {},
        ours=bool(about),
        notes=notes + said,
        source="" if held is None else held.source,
    )


def seeds_in(folder: Path) -> list[Path]:
    """The run folders of the single seeds in that of a run of several, by their seed; none
    where the folder is anything else."""
    if (folder / BEST).is_file():
        return []
    found = [file.parent for file in folder.glob(f"seed-*/{BEST}")]
    known = [each for each in found if re.fullmatch(r"seed-\d+", each.name)]
    return sorted(known, key=lambda each: int(each.name.removeprefix("seed-")))


def _file(path: Path) -> Path:
    """The checkpoint that a path means: of a run folder, its best."""
    if several := seeds_in(path):
        raise ValueError(
            f"the folder {path} holds a run of several seeds: give one of "
            f"{', '.join(each.name for each in several)} in it, or {path / 'seed-{seed}'} with "
            "--seeds"
        )
    if path.is_dir() and not (path / BEST).is_file():
        raise ValueError(f"the folder {path} holds no {BEST}: give a run folder or a file")
    return path / BEST if path.is_dir() else path


def _named(text: str, path: Path, held: Held | None) -> str:
    """What is wrong with a file, with its name; one of the hub is not known by its place in the
    cache, and what lies beside it may say what it is."""
    if held is None:
        return text if str(path) in text else f"{path}: {text}"
    text = text.replace(str(path), str(held.place))
    beside = f"; beside it lie {shortened(held.files)}" if held.files and "--model" in text else ""
    return (text if str(held.place) in text else f"{held.place}: {text}") + beside


def _of_config(held: Held, model: str | nn.Module | None, normalize: str | None) -> list[str]:
    """What is taken from a config.json where the user gives this, as a note. Raises ValueError
    where a network by its name would be another than that of the config.json."""
    name = str(held.model)
    by_name = model is None or (isinstance(model, str) and model.partition(".")[0] == name)
    if by_name and (other := other_arguments(name, held.arguments)):
        raise ValueError(
            f"its config.json builds {name} with {other}: pass --model with a function (import "
            "path) that does"
        )
    said = [name] if model is None else []
    if normalize is None and held.normalize:
        scaled = ", given there for pixels from 0 to 255" if held.scaled else ""
        said.append(f"normalisation {held.normalize}{scaled}")
    return [f"its config.json says {', '.join(said)}"] if said else []


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What our own files say of themselves; empty for files from elsewhere."""
    if "hardy" not in metadata:
        return {}
    try:
        about = json.loads(metadata["hardy"])
        return {
            "architecture": Architecture(**about["architecture"]),
            "classes": [str(name) for name in about["classes"]],
            "extra": dict(about["extra"]),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"its description of itself is damaged ({error!r})") from None


def _allowed(stored: str) -> str:
    """The stored name of a network, if it is built in, or of an installed library: a file may
    choose among networks that are there, never code."""
    if stored in ZOO or is_library_name(stored):
        return stored
    if not re.fullmatch(r"[\w.]+:[\w.]+", stored):
        raise ValueError(f"its network {stored!r} is unknown here: pass --model")
    raise ValueError(
        f"its network comes from the import path {stored}, and a file must not choose code: "
        f"if you trust it, pass --model {stored}"
    )
