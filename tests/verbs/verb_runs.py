"""Small runs of the verbs in this process, and what the tests compare of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hardy.cli import run
from hardy.evaluation.results import Measurement, Results
from hardy.evaluation.robustness import Verdicts
from hardy.verbs.training.history import History

SMALL = (
    *("--data", "digits", "--val-fraction", "0.2", "--eps", "0.1", "--steps", "2"),
    *("--restarts", "1", "--batch-size", "64", "--device", "cpu"),
)
TRAIN = (
    *("train", *SMALL, "--model", "small_resnet", "--schedule", "onecycle", "--lr", "0.2"),
    *("--epochs", "4", "--limit", "512", "--val-pictures", "100", "--test-limit", "100"),
)
MRC = ("mrc", *SMALL, "--mrc-pictures", "64")
RIFT = (
    *("rift", *SMALL, "--mrc-pictures", "64", "--limit", "512", "--choose-pictures", "200"),
    *("--test-limit", "200", "--epochs", "1", "--alphas", "0.5", "1"),
)


def hardy(*words: object) -> int:
    """The command line in this process; a word given twice as a flag counts as given last."""
    return run([str(word) for word in words])


def set_back(patch: pytest.MonkeyPatch) -> None:
    """In a run's fourth epoch robust accuracy on val falls below its best so far: which epoch
    is the best of so small a run would otherwise depend on the machine's rounding."""
    usual = History.after_epoch

    def after_epoch(self: History, row: dict[str, float], *rest: Any) -> Any:
        judge = self.judge

        def lower(*args: Any) -> Verdicts:
            found = judge(*args)
            best = max(past["live"]["robust"] for past in self.rows)
            n = len(found.robust)
            return Verdicts(found.clean, torch.arange(n) < round(0.9 * best * n))

        with pytest.MonkeyPatch.context() as one:
            if row["epoch"] == 3:
                one.setattr(self, "judge", lower)
            return usual(self, row, *rest)

    patch.setattr(History, "after_epoch", after_epoch)


def replaced(words: tuple[str, ...], flag: str, *values: str) -> tuple[str, ...]:
    """The words with a flag's values put in place of those it has, if it has any."""
    if flag not in words:
        return (*words, flag, *values)
    start = words.index(flag)
    stop = next((i for i in range(start + 1, len(words)) if words[i][:2] == "--"), len(words))
    return (*words[:start], flag, *values, *words[stop:])


def weights(folder: Path) -> dict[str, Tensor]:
    """The best weights of a run folder."""
    return load_file(folder / "best.safetensors")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log, less the seconds, which no two runs share."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def arguments(folder: Path) -> dict[str, Any]:
    """What config.json says was asked for, less where it went and what it ran on."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {k: v for k, v in content.items() if k not in ("out", "environment", "command")}


def assert_same(a: Any, b: Any) -> None:
    """Equal to the last bit, through all containers; the seconds no two runs share."""
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


def timeless(results: Results) -> list[dict[str, Any]]:
    """The measurements less the seconds, which no two runs share."""
    rows = [dataclasses.asdict(m) for m in results.measurements]
    for row in rows:
        row["setting"].pop("seconds", None)
    return rows


def points(results: Results, subject: str) -> list[Measurement]:
    """The clean accuracies on the way of a candidate, from the start on."""
    found = results.select("clean accuracy", subject=subject)
    return [m for m in found if "alpha" in m.setting]


def subjects_on_the_way(results: Results) -> list[str]:
    """The candidates that were tried, in their order."""
    tried = (m.subject for m in results.select("clean accuracy") if "alpha" in m.setting)
    return list(dict.fromkeys(tried))
