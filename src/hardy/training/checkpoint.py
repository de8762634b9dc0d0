"""last.ckpt: the full state of a run, whole on disk, loaded without running any code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from hardy.files import written_whole

FILE_NAME = "last.ckpt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the state whole. It holds only tensors and plain containers."""
    with written_whole(folder / FILE_NAME) as part:
        torch.save(state, part)


def load(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The state of a run that was stopped, or None where none was saved yet.

    Raises ValueError where the file is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    damage = (RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, ValueError)
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location=device, weights_only=True)
        except damage:
            raise ValueError(
                f"{path} is damaged: delete it to start the run again from its beginning"
            ) from None
