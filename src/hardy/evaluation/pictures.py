"""A few pictures that show what a run is about: clean, attacked, and what networks say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardy.data.splits import Split
from hardy.files import written_whole

KIND = "pictures"


def predictions(model: torch.nn.Module, x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
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
    kept: dict[str, Any] = {
        "clean": split.images.cpu().numpy(),
        "adversarial": (x_adv * 255).round().byte().cpu().numpy(),
        "labels": split.labels.cpu().numpy(),
        "classes": np.array(classes),
    }
    for network, by_kind in said.items():
        kept |= {f"{network}/{kind}": found.cpu().numpy() for kind, found in by_kind.items()}
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **kept)
