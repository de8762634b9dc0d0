"""A run that was stopped and goes on ends where it would have ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from verb_runs import (
    MRC,
    RIFT,
    SMALL,
    TRAIN,
    assert_same,
    hardy,
    replaced,
    rows,
    set_back,
    timeless,
    weights,
)

from hardy.evaluation.results import read


def stop_at(
    monkeypatch: pytest.MonkeyPatch, name: str, call: int, before: Callable[[], None] = lambda: None
) -> None:
    """From its given call on, the function raises what Ctrl-C does."""
    module, _, attribute = name.rpartition(".")
    original = getattr(__import__(module, fromlist=[attribute]), attribute)
    calls = 0

    def stopping(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            before()
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(name, stopping)


def last(folder: Path) -> Any:
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("hardy.verbs.train.judge", 2),  # in epoch 2, before anything of it is written
        ("hardy.training.checkpoint.save", 2),  # the best is written, the state is not
        ("hardy.verbs.training.history.say", 2),  # all of epoch 2 is written
        pytest.param("hardy.training.checkpoint.save", 1, marks=pytest.mark.slow),  # no state yet
        ("hardy.verbs.train.judge", 5),  # trained, but not yet evaluated
        ("hardy.verbs.train.judge", 6),  # the best is evaluated, the last epoch is not
    ],
)
def test_training_goes_on_bit_for_bit(
    where: str, call: int, robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    set_back(monkeypatch)
    with monkeypatch.context() as patch:
        stop_at(patch, where, call)
        assert hardy(*TRAIN, "--out", out) == 130
    assert not (out / "results.json").exists()
    assert hardy(*TRAIN, "--out", out, "--resume") == 0
    assert_same(weights(out), weights(robust))
    assert_same(last(out), last(robust))
    assert rows(out) == rows(robust)
    assert timeless(read(out)) == timeless(read(robust))


def test_the_best_of_an_epoch_that_is_run_again_was_really_written(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two writes the best is ahead of the state: that is the case above."""
    out = tmp_path / "stopped"
    best: list[dict[str, torch.Tensor]] = []
    with monkeypatch.context() as patch:

        def look() -> None:
            best.append(load_file(out / "best.safetensors"))

        stop_at(patch, "hardy.training.checkpoint.save", 2, look)
        assert hardy(*TRAIN, "--out", out) == 130
    assert last(out)["epoch"] == 1
    assert not torch.equal(best[0]["conv1.weight"], last(out)["model"]["conv1.weight"])


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("hardy.verbs.mrc.say", 5),  # after the fourth module
        pytest.param("hardy.finetuning.rift.mrc", 1, marks=pytest.mark.slow),  # before the first
        ("hardy.verbs.rifting.searching.say", 2),  # after the first candidate
        pytest.param("hardy.finetuning.rift.tune", 2, marks=pytest.mark.slow),  # before the second
        ("hardy.finetuning.rift.path", 2),  # between two α of the first
        ("hardy.verbs.rifting.written.judge", 2),  # while the result is measured
    ],
)
def test_rift_goes_on_to_the_same_results(
    where: str,
    call: int,
    robust: Path,
    better: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = ("--choose", "both", "--k", "2", "--lr", "0.03", "--tolerance", "0.05")
    words = (*RIFT, *wide, "--checkpoint", robust, "--out", tmp_path / "stopped")
    with monkeypatch.context() as patch:
        stop_at(patch, where, call)
        assert hardy(*words) == 130
    assert hardy(*words, "--resume") == 0
    assert timeless(read(tmp_path / "stopped")) == timeless(read(better))
    assert_same(weights(tmp_path / "stopped"), weights(better))


def test_what_is_done_is_not_done_again(
    drawn: None, robust: Path, better: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run goes on to nothing: no step is taken, no weight and no number moves."""
    wide = ("--choose", "both", "--k", "2", "--lr", "0.03", "--tolerance", "0.05")
    finished = {
        robust: (*TRAIN, "--out", robust),
        better: (*RIFT, *wide, "--checkpoint", robust, "--out", better),
    }
    for name in ("tune", "path"):
        stop_at(monkeypatch, f"hardy.finetuning.rift.{name}", 1)
    for folder, words in finished.items():
        names = ("config.json", "log.jsonl", "figures/training.svg", "figures/tradeoff.svg")
        kept = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
        before, was = read(folder), weights(folder)
        assert hardy(*words, "--resume") == 0
        after = read(folder)
        assert (after.measurements, after.facts, after.notes) == (
            before.measurements,
            before.facts,
            before.notes,
        )
        assert_same(weights(folder), was)
        assert kept == {name: (folder / name).read_bytes() for name in kept}


def test_mrc_and_evaluate_go_on_too(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = "hardy.verbs.evaluating.tallies.judge"
    for verb, words, where in (
        ("mrc", (*MRC, "--checkpoint", robust), "hardy.verbs.mrc.say"),
        ("evaluate", ("evaluate", robust, *SMALL, "--limit", "50"), judge),
    ):
        whole, out = tmp_path / f"{verb} whole", tmp_path / f"{verb} stopped"
        assert hardy(*words, "--out", whole) == 0
        with monkeypatch.context() as patch:
            stop_at(patch, where, 3 if verb == "mrc" else 1)
            assert hardy(*words, "--out", out) == 130
        assert hardy(*words, "--out", out, "--resume") == 0
        assert timeless(read(out)) == timeless(read(whole))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert hardy(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hardy: ")
    return line


def test_another_flag_is_refused_by_its_name(
    robust: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    other = replaced(TRAIN, "--lr", "0.05")
    line = refused(capsys, *other, "--out", robust, "--resume")
    assert "--lr 0.2, not 0.05" in line
    line = refused(capsys, *TRAIN, "--weight-decay", "0", "--out", robust, "--resume")
    assert "--weight-decay 0.0005, not 0" in line
    line = refused(capsys, *MRC, "--checkpoint", robust, "--out", robust, "--resume")
    assert "another verb" in line


ONE = replaced(TRAIN, "--epochs", "1")
EVALUATE = ("evaluate", *SMALL, "--limit", "20", "--curve-pictures", "0")
ON_A_NETWORK = {
    "evaluate": (*EVALUATE, "--preflight-pictures", "0", "--checkpoint"),
    "mrc": (*MRC, "--limit", "64", "--checkpoint"),
    "train": (*ONE, "--checkpoint"),
    "a teacher": (*ONE, "--method", "ard", "--teacher-pictures", "0", "--teacher"),
    "rift": (*RIFT, "--modules", "last", "--no-bn-only", "--checkpoint"),
}


@pytest.mark.parametrize("case", ON_A_NETWORK)
def test_another_network_in_the_same_file_is_refused(
    case: str, robust: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file, out = tmp_path / "net", tmp_path / "net" / "best.safetensors", tmp_path / "out"
    shutil.copytree(robust, folder)
    words = (*ON_A_NETWORK[case], folder, "--out", out)
    assert hardy(*words) == 0
    before, was = (out / "results.json").read_bytes(), file.read_bytes()
    file.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))  # the last bit of one weight
    capsys.readouterr()
    line = refused(capsys, *words, "--resume")
    assert "was started with other weights in " in line and "give the same file" in line
    assert (out / "results.json").read_bytes() == before
    file.write_bytes(was)
    assert hardy(*words, "--resume") == 0


def test_a_folder_with_a_run_needs_resume(robust: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    before = (robust / "config.json").read_bytes()
    assert "pass --resume" in refused(capsys, *TRAIN, "--out", robust)
    assert (robust / "config.json").read_bytes() == before


def test_resume_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--resume needs --out" in refused(capsys, *TRAIN, "--resume")
    empty = tmp_path / "empty"
    assert "no run in" in refused(capsys, *TRAIN, "--resume", "--out", empty)
    assert not empty.exists()
    (tmp_path / "notes.txt").write_text("mine")
    assert "no run in" in refused(capsys, *TRAIN, "--resume", "--out", tmp_path)
    assert "not empty" in refused(capsys, *TRAIN, "--out", tmp_path)


def test_a_damaged_state_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, "hardy.verbs.train.judge", 2)
        assert hardy(*TRAIN, "--out", out) == 130
    state = (out / "last.ckpt").read_bytes()
    (out / "last.ckpt").write_bytes(state[: len(state) // 2])
    capsys.readouterr()
    assert hardy(*TRAIN, "--out", out, "--resume") == 2
    assert "last.ckpt is damaged: delete it" in capsys.readouterr().err
    (out / "last.ckpt").write_bytes(state)
    (out / "config.json").write_text("{")
    assert hardy(*TRAIN, "--out", out, "--resume") == 2
    assert "config.json is damaged" in capsys.readouterr().err
