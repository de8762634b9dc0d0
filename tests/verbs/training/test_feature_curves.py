"""RF and NRF accuracy: by hand, and in a run on a set of which they are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from verb_runs import hardy, rows

from hardy import load_data
from hardy.data.made import KIND
from hardy.data.splits import Split
from hardy.evaluation.results import read
from hardy.models.load import read_checkpoint
from hardy.verbs.training.feature_curves import FeatureWatch


class Told(nn.Module):
    """Says of a picture the class that its brightness names, of 4."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(4)[(x[:, 0, 0, 0] * 255).round().long()]


def split(said: list[int], labels: list[int]) -> Split:
    images = torch.tensor(said, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Split(images, torch.tensor(labels), torch.arange(len(said)), "test")


def test_the_class_itself_and_the_next_one_are_counted() -> None:
    few = split([0, 1, 2, 3, 0, 3, 1, 2], [0, 1, 1, 2, 3, 3, 3, 0])
    watch = FeatureWatch(few, 1, 4, 3)
    found = watch.of(Told())
    # Right: the first two and the sixth; next: the third to the fifth; the last two are neither.
    assert found == {"rf": 3 / 8, "nrf": 3 / 8}
    assert FeatureWatch(few, 2, 4, 3).of(Told()) == {"rf": 3 / 8, "nrf": 2 / 8}
    assert watch.said(found) == "RF 37.5 %, NRF 37.5 %, "
    rf, nrf = watch.measurements(found, "net", epoch=2)
    assert (rf.quantity, nrf.quantity) == ("RF accuracy", "NRF accuracy")
    assert (rf.value, rf.n, rf.setting["epoch"]) == (3 / 8, 8, 2)
    assert watch.measurements({}, "net") == [] and watch.said({}) == ""


def shifted(path: Path, shift: int | None) -> Path:
    """digits as a set of features would hold them, the labels shifted by 1."""
    data = load_data("digits")
    about = {"kind": KIND, "set": "d_det", "data": "digits", "weights": {"network": "abc"}}
    arrays: dict[str, Any] = {
        "train_images": data.train.pixels(slice(0, 256)).half().numpy(),
        "train_labels": ((data.train.labels[:256] + 1) % 10).numpy(),
        "test_images": data.test.images.numpy(),
        "test_labels": data.test.labels.numpy(),
        "provenance": np.array(json.dumps({**about, "label_shift": shift})),
    }
    np.savez(path, **arrays)
    return path


TRAIN = (
    *("train", "--model", "small_resnet", "--method", "standard", "--epochs", "2", "--lr", "0.1"),
    *("--schedule", "constant", "--batch-size", "64", "--eps", "0.1", "--steps", "1"),
    *("--restarts", "1", "--test-limit", "80", "--val-pictures", "50", "--device", "cpu"),
)


@pytest.mark.parametrize("shift", [1, None])
def test_a_run_on_a_shifted_set_tells_both_after_each_epoch(
    shift: int | None, tmp_path: Path
) -> None:
    data = f"npz:{shifted(tmp_path / 'made.npz', shift)}"
    assert hardy(*TRAIN, "--data", data, "--out", tmp_path / "run") == 0
    results, log = read(tmp_path / "run"), rows(tmp_path / "run")
    extra = read_checkpoint(tmp_path / "run").extra
    assert str(extra["made"]).startswith("d_det of digits")
    assert results.facts["set"] == extra["made"]
    curves = [list(results.select(f"{name} accuracy")) for name in ("RF", "NRF")]
    once = any("test split was read once" in note for note in results.notes)
    assert once == (shift is None)  # its test is read after each epoch otherwise
    if shift is None:
        assert curves == [[], []] and all("watched" not in row for row in log)
        return
    for name, curve in zip(("rf", "nrf"), curves, strict=True):
        by_epoch = [m for m in curve if "epoch" in m.setting]
        assert [m.value for m in by_epoch] == [row["watched"][name] for row in log]
        assert {(m.split, m.n) for m in by_epoch} == {("test", 50)}
    # On pictures with their own labels RF accuracy is clean accuracy.
    final = [m for m in curves[0] if "epoch" not in m.setting]
    clean = list(results.select("clean accuracy", split="test"))
    assert [(m.value, m.n) for m in final] == [(m.value, m.n) for m in clean]
    assert any("RF and NRF" in note for note in results.notes)
