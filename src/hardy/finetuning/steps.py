"""The finished steps of a long computation, kept on disk so that a stop loses only one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hardy.evaluation.robustness import Verdicts
from hardy.files import write_json, written_whole


class Steps:
    """Values by name in a folder; with folder None nothing is kept and nothing found."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

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
        path = self._path(name, ".safetensors")
        if not path or not path.is_file():
            return None
        try:
            return load_file(path)
        except SafetensorError:
            raise _damaged(path) from None

    def keep_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors, whole."""
        path = self._path(name, ".safetensors")
        if path:
            with written_whole(path) as part:
                # Copies: tied weights share memory, which safetensors refuses.
                whole = {
                    k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
                    for k, v in tensors.items()
                }
                save_file(whole, part)

    def verdicts(self, name: str, judge: Callable[[], Verdicts]) -> Verdicts:
        """Kept verdicts, or those that `judge` gives, which are kept."""
        kept = self.tensors(name)
        if kept is None:
            found = judge()
            kept = {"verdicts": torch.stack([found.clean, found.robust]).to(torch.uint8)}
            self.keep_tensors(name, kept)
        clean, robust = kept["verdicts"].bool()
        return Verdicts(clean, robust)

    def _path(self, name: str, ending: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / (re.sub(r"[^\w.=-]+", "_", name) + ending)


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged: delete it, and it is computed again")
