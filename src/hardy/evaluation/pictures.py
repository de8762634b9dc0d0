"""A few pictures that show what a run is about: clean, attacked, and what networks say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardy.attacks.search import Attack, Found
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.evaluation.robustness import Ensemble, Protocol
from hardy.files import written_whole
from hardy.memory import Halving
from hardy.modes import evaluating, frozen

KIND = "pictures"
BROKEN = "broken pictures"


@dataclass(frozen=True)
class Shown:
    """What an attack made of a few pictures for one network: x_adv (n, C, H, W), the picture
    itself where it was not broken; the classes said of both, int64 (n,); broken, bool (n,)."""

    x_adv: Tensor
    clean: Tensor
    adversarial: Tensor
    broken: Tensor


def predictions(model: nn.Module, x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
    """The classes that a network in eval mode gives the pictures and their adversarial
    versions, int64 (N,)."""
    with torch.no_grad():
        return {"clean": model(x).argmax(1), "adversarial": model(x_adv).argmax(1)}


def write_pictures(
    path: Path,
    split: Split,
    x_adv: Tensor,
    classes: Sequence[str],
    said: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write an npz of a split's pictures, their adversarial versions (rounded to 8 bits), the
    labels, the class names, and each network's predictions as '<network>/clean' and
    '<network>/adversarial'. Without object arrays: it is read without running anything."""
    kept = {**_about(split, classes), "adversarial": _bytes(x_adv)}
    for network, by_kind in said.items():
        kept |= {f"{network}/{kind}": found.cpu().numpy() for kind, found in by_kind.items()}
    write_arrays(path, kept)


def found_again(
    model: nn.Module, split: Split, protocol: Protocol | Ensemble, by: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The adversarial examples of the examples that are broken: rows, int64 (b,), and x_adv
    (b, C, H, W), batch by batch, searched for once more by the runs of the stage that broke
    them and with the same draws. by: as in `Verdicts`."""
    number, halving = 0, Halving()
    with evaluating(model), frozen(model):
        for n, stage in enumerate(protocol.stages):
            rows = (by == n).nonzero()[:, 0]
            for run in stage.runs:
                left, done = [rows[:0]], 0

                def search(b: Batch, run: Attack = run, number: int = number) -> Found:
                    return run.search(model, b.x, b.y, replace(b.draws, restart=number))

                whole = batches(split.take(rows), protocol.batch_size, seed=protocol.seed)
                for batch, found in halving(whole, search):
                    here = rows[done : done + len(batch)]
                    done += len(batch)
                    yield here[found.broken], found.x_adv[found.broken]
                    left.append(here[~found.broken])
                rows = torch.cat(left)
                number += 1


def shown(model: nn.Module, split: Split, protocol: Protocol | Ensemble, by: Tensor) -> Shown:
    """A few pictures under an attack; a picture counts as broken where the second search for
    its adversarial example finds one."""
    x = split.pixels(slice(None))
    x_adv = x.clone()
    for rows, found in found_again(model, split, protocol, by.to(x.device)):
        x_adv[rows] = found
    with evaluating(model):
        said = predictions(model, x, x_adv)
    broken = (said["clean"] == split.labels) & (said["adversarial"] != split.labels)
    return Shown(x_adv, said["clean"], said["adversarial"], broken)


def write_broken(path: Path, split: Split, classes: Sequence[str], of: Mapping[str, Shown]) -> None:
    """Write an npz of pictures that an attack breaks: clean, labels and classes, and for each
    network '<network>/adversarial' (rounded to 8 bits), '<network>/clean class',
    '<network>/adversarial class' and '<network>/broken'. Without object arrays."""
    kept = _about(split, classes)
    for network, one in of.items():
        kept |= {
            f"{network}/adversarial": _bytes(one.x_adv),
            f"{network}/clean class": one.clean.cpu().numpy(),
            f"{network}/adversarial class": one.adversarial.cpu().numpy(),
            f"{network}/broken": one.broken.cpu().numpy(),
        }
    write_arrays(path, kept)


def _about(split: Split, classes: Sequence[str]) -> dict[str, Any]:
    images = split.images[:]
    return {
        "clean": _bytes(images) if images.is_floating_point() else images.cpu().numpy(),
        "labels": split.labels.cpu().numpy(),
        "classes": np.array(classes),
    }


def _bytes(x: Tensor) -> np.ndarray:
    return (x.float() * 255).round().byte().cpu().numpy()


def write_arrays(path: Path, kept: Mapping[str, Any]) -> None:
    """Write arrays as a compressed npz, whole or not at all."""
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **kept)
