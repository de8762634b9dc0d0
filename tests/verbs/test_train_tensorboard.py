"""hardy train --tensorboard: what its reader shows is what log.jsonl says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from verb_runs import TRAIN, hardy, replaced

from hardy.training.tensorboard import scalars

WORDS = (*replaced(TRAIN, "--epochs", "3"), "--tensorboard")


def points(folder: Path) -> dict[tuple[str, int], list[float]]:
    """By tag and step, all values that a reader is shown."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[tuple[str, int], list[float]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found.setdefault((tag, event.step), []).append(event.value)
    return found


def logged(folder: Path) -> dict[tuple[str, int], list[float]]:
    """The same from log.jsonl; events are in single precision."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    return {
        (tag, row["epoch"]): [float(np.float32(value))]
        for row in rows
        for tag, value in scalars(row).items()
    }


def test_the_reader_shows_every_number_of_the_log(tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = ("--method", "trades", "--average", "ema", "--average-decay", "0.9")
    assert hardy(*WORDS, *more, "--out", out) == 0
    found = points(out)
    assert found == logged(out)
    tags = {tag for tag, _ in found}
    networks = {f"val/{kind}/{of}" for kind in ("live", "average") for of in ("clean", "robust")}
    terms = {"loss", "natural", "robust_kl", "lr", "seconds"}
    assert tags == networks | {f"train/{name}" for name in terms}


@pytest.mark.parametrize("name", ["checkpoint.save", "tensorboard.Curves.__call__"])
def test_a_run_that_goes_on_shows_each_epoch_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second epoch, before its state is saved, or between that and its event."""
    out, calls = tmp_path / "run", 0
    with monkeypatch.context() as patch:
        home, _, attribute = f"hardy.training.{name}".rpartition(".")
        holder = sys.modules.get(home) or sys.modules["hardy.training.tensorboard"].Curves
        original = getattr(holder, attribute)

        def stopping(*args: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            original(*args)

        patch.setattr(holder, attribute, stopping)
        assert hardy(*WORDS, "--out", out) == 130
    assert {step for _, step in points(out)} == {0}
    assert hardy(*WORDS, "--out", out, "--resume") == 0
    assert points(out) == logged(out)


def test_without_the_flag_there_are_no_events(robust: Path) -> None:
    assert not (robust / "tensorboard").exists()


def test_without_tensorboard_the_run_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    out = tmp_path / "run"
    assert hardy(*WORDS, "--out", out) == 2
    assert "--tensorboard needs TensorBoard: pip install 'hardy[log]'" in capsys.readouterr().err
    assert not out.exists()
