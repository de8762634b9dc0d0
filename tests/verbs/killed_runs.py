"""Runs of `hardy train` that end at a chosen moment, as a killed process does.

    python tests/verbs/killed_runs.py 17 train --data digits …      SIGKILL at the 17th moment

A moment is each step of training, each look at val and test, and in each file that is written:
before its first byte, with half of its bytes there, with all of them under another name, and
under its own.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import hardy.files
import hardy.verbs.runs.folder
import hardy.verbs.train
from hardy.cli import run
from hardy.training import loop

Patch = Callable[[Any, str, Any], None]


def install(patch: Patch, moment: Callable[[str], None]) -> None:
    """Call moment(name) at each of them; patch(object, attribute, value) puts the hooks in."""

    def before(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def hooked(*args: Any, **kwargs: Any) -> Any:
            moment(what)
            return original(*args, **kwargs)

        patch(owner, name, hooked)

    before(loop.Loop, "step", "a step")
    before(hardy.verbs.train, "judge", "judging")
    before(hardy.files.os, "fsync", "written under another name")
    before(hardy.verbs.runs.folder, "write_report", "drawing the page")
    make, replace, save = hardy.files.tempfile.mkstemp, Path.replace, torch.save

    def begun(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        if kwargs.get("suffix") == ".part":
            moment("begun")
        return made

    def replaced(self: Path, target: Any) -> Path:
        found = replace(self, target)
        if self.suffix == ".part":
            moment("written")
        return found

    def saved_by_half(state: Any, part: Path) -> None:
        whole = io.BytesIO()
        save(state, whole)
        part.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        moment("half of it written")
        save(state, part)

    patch(hardy.files.tempfile, "mkstemp", begun)
    patch(Path, "replace", replaced)
    patch(torch, "save", saved_by_half)


def main(number: int, words: list[str]) -> int:
    """Run the words in this process, to its n-th moment."""
    passed = 0

    def moment(what: str) -> None:
        nonlocal passed
        passed += 1
        if passed == number:
            sys.stderr.write(f"killed: {what}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    install(setattr, moment)
    torch.set_num_threads(1)
    return run(words)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
