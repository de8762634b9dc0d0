"""A run that memory was too small for, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from verb_runs import TRAIN, hardy, replaced

from hardy.evaluation.results import read
from hardy.training.loop import Loop
from hardy.verbs.training.history import History

WORDS = replaced(TRAIN, "--epochs", "2")
WORDS = (*replaced(WORDS, "--limit", "128"), "--val-pictures", "20", "--test-limit", "20")
NOTE = "Memory ran out in epoch 1: from there on each batch was cut as with --accumulate 2 in place"


def test_it_goes_on_in_parts_says_so_and_keeps_to_them_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual, refused = Loop.step, []

    def step(self: Loop, *given: Any, **more: Any) -> dict[str, Tensor]:
        if self.accumulate == 1:
            refused.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(self, *given, **more)

    after = History.after_epoch

    def stopped(self: History, *given: Any) -> Any:
        after(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "step", step)
    with monkeypatch.context() as once:
        once.setattr(History, "after_epoch", stopped)
        assert hardy(*WORDS, "--out", tmp_path / "run") == 130
    said = capsys.readouterr().err
    assert "memory ran out in step 1 with 64 pictures at once: from there on as with" in said
    assert json.loads((tmp_path / "run" / "config.json").read_text())["accumulate"] == 1

    assert hardy(*WORDS, "--out", tmp_path / "run", "--resume") == 0
    assert "memory ran out" not in capsys.readouterr().err
    assert len(refused) == 1, "what did not fit was not tried again"
    (note,) = (note for note in read(tmp_path / "run").notes if "Memory" in note)
    assert note.startswith(NOTE)


def test_cuda_graphs_need_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hardy(*WORDS, "--out", tmp_path / "run", "--cuda-graphs") == 2
    assert "--cuda-graphs needs a GPU, and this run is on cpu" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
