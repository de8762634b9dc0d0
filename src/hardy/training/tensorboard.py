"""The curves of a training run for TensorBoard. log.jsonl holds the same numbers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
Row = Mapping[str, Any]


def must_be_installed() -> None:
    """Raises ValueError where TensorBoard is not."""
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise ValueError("--tensorboard needs TensorBoard: pip install 'hardy[log]'") from None


class Curves:
    """Writes the scalars of each epoch, at the step that is its number from 0.

    logged() gives the rows of all epochs so far. A run that goes on has them in an older file,
    perhaps less the last one, before which it was stopped, or with one that will be run again:
    so the first call of this process blots them out there and writes all that stand.
    """

    def __init__(self, folder: Path, logged: Callable[[], Sequence[Row]]) -> None:
        self.folder, self.logged = folder, logged
        self._writer: SummaryWriter | None = None

    def __call__(self, row: Row) -> None:
        """Write an epoch that is in the log. On the disk when this returns."""
        rows = [row]
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self.folder, purge_step=0)
            rows = self.logged()
        for each in rows:
            for tag, value in scalars(each).items():
                self._writer.add_scalar(tag, value, each["epoch"])
        self._writer.flush()


def scalars(row: Row) -> dict[str, float]:
    """The numbers of a row of log.jsonl by tag: train/NAME, val/NETWORK/NAME, and watched/NAME."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if name == "watched":
            found |= {f"{name}/{of}": number for of, number in value.items()}
        elif isinstance(value, Mapping):
            found |= {f"val/{name}/{of}": share for of, share in value.items()}
        elif name != "epoch":
            found[f"train/{name}"] = value
    return found
