"""The finished steps of a long computation, kept on disk so that a stop loses only one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hardy.evaluation.robustness import Verdicts
from hardy.files import write_json, written_whole

TENSORS = ".safetensors"


class Steps:
    """Values by name in a folder; with folder None nothing is kept and nothing found."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def within(self, name: str) -> Steps:
        """The steps of a part of the computation, in a folder of their own."""
        return Steps(None if self.folder is None else self.folder / _plain(name))

    def slot(self, name: str) -> Slot:
        """The place of one step that is not finished, and is kept as far as it has come."""
        return Slot(self, name)

    def json(self, name: str) -> Any:
        """A kept JSON value, or None."""
        path = self._path(name, ".json")
        if not path or not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise _damaged(path) from None

    def keep_json(self, name: str, value: Any) -> None:
        """Keep a JSON value, whole."""
        path = self._path(name, ".json")
        if path:
            write_json(path, value)

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """Kept tensors, on the CPU, or None."""
        path = self._path(name, TENSORS)
        if not path or not path.is_file():
            return None
        try:
            return load_file(path)
        except SafetensorError:
            raise _damaged(path) from None

    def keep_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors, whole."""
        path = self._path(name, TENSORS)
        if path:
            with written_whole(path) as part:
                # Copies: tied weights share memory, which safetensors refuses.
                whole = {
                    k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
                    for k, v in tensors.items()
                }
                save_file(whole, part)

    def names(self) -> list[str]:
        """Under which names tensors are kept, as the file system can hold them."""
        if self.folder is None:
            return []
        return sorted(path.name.removesuffix(TENSORS) for path in self.folder.glob(f"*{TENSORS}"))

    def verdicts(self, name: str, judge: Callable[[], Verdicts]) -> Verdicts:
        """Kept verdicts, or those that `judge` gives, which are kept."""
        kept = self.tensors(name)
        if kept is None:
            found = judge()
            kept = {"verdicts": torch.stack([found.clean, found.robust]).to(torch.uint8)}
            if found.by is not None:
                kept["by"] = found.by
            self.keep_tensors(name, kept)
        clean, robust = kept["verdicts"].bool()
        return Verdicts(clean, robust, kept.get("by"))

    def tensor(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A kept tensor, or what `compute` gives, which is kept; on the CPU."""
        kept = self.tensors(name)
        if kept is None:
            kept = {"value": compute().cpu()}
            self.keep_tensors(name, kept)
        return kept["value"]

    def _path(self, name: str, ending: str) -> Path | None:
        return None if self.folder is None else self.folder / (_plain(name) + ending)


@dataclass(frozen=True)
class Slot:
    """Where one step keeps how far it is."""

    steps: Steps
    name: str

    def load(self) -> dict[str, Tensor] | None:
        """What was saved last, on the CPU, or None."""
        return self.steps.tensors(self.name)

    def save(self, state: dict[str, Tensor]) -> None:
        """Put this in its place, whole."""
        self.steps.keep_tensors(self.name, state)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged: delete it, and it is computed again")
