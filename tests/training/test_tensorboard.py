"""The scalars of TensorBoard, read back by its own reader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hardy.training.tensorboard import Curves, Row, must_be_installed, scalars

ROWS: list[Row] = [
    {
        "epoch": epoch,
        "lr": 0.1 / (epoch + 1),
        "seconds": 2.5,
        "loss": 1 / (epoch + 3),
        "robust_kl": 0.25 * epoch,
        "live": {"clean": 0.5, "robust": 0.125 * epoch},
        "average": {"clean": 0.75, "robust": 0.25},
    }
    for epoch in range(3)
]


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By tag, the points (step, value) that a reader is shown."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_the_numbers_of_a_row_by_tag() -> None:
    assert scalars(ROWS[2]) == {
        "train/lr": 0.1 / 3,
        "train/seconds": 2.5,
        "train/loss": 0.2,
        "train/robust_kl": 0.5,
        "val/live/clean": 0.5,
        "val/live/robust": 0.25,
        "val/average/clean": 0.75,
        "val/average/robust": 0.25,
    }


def test_every_epoch_is_on_the_disk_when_it_is_written(tmp_path: Path) -> None:
    known: list[Row] = []
    curves = Curves(tmp_path, lambda: known)
    assert not any(tmp_path.iterdir())
    for row in ROWS:
        known.append(row)
        curves(row)
        losses = [(each["epoch"], pytest.approx(each["loss"])) for each in known]
        assert read(tmp_path)["train/loss"] == losses


@pytest.mark.parametrize(
    ("written", "known"),
    [
        (ROWS[:2], ROWS[:3]),  # stopped after an epoch was written
        (ROWS[:1], ROWS[:3]),  # stopped when it was saved, before it was written here
        ([*ROWS[:2], {**ROWS[2], "loss": 99.0}], ROWS[:3]),  # written, and run again
    ],
)
def test_a_run_that_goes_on_shows_each_epoch_once(
    written: list[Row], known: list[Row], tmp_path: Path
) -> None:
    before = Curves(tmp_path, lambda: written[:1])
    for row in written:
        before(row)
    Curves(tmp_path, lambda: known)(known[-1])
    assert read(tmp_path)["train/loss"] == [
        (row["epoch"], pytest.approx(row["loss"])) for row in known
    ]


def test_without_tensorboard_the_user_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r"needs TensorBoard: pip install 'hardy\[log\]'"):
        must_be_installed()
