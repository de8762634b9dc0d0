"""hardy train: what it leaves behind, and that it is enough to do it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from verb_runs import TRAIN, arguments, assert_same, hardy, replaced, timeless, weights

import hardy as package
from hardy.data.splits import limited
from hardy.evaluation.results import read
from hardy.evaluation.robustness import rightly
from hardy.files import sha256


def test_the_run_folder_holds_all_that_was_promised(robust: Path) -> None:
    names = {path.name for path in robust.iterdir()}
    assert names == {
        "best.safetensors",
        "config.json",
        "figures",
        "last.ckpt",
        "log.jsonl",
        "report.html",
        "results.json",
        "tables.md",
    }
    results = read(robust)
    assert results.verb == "train"
    assert results.facts["method"] == "PGDAT(attack_mode='eval')"
    for artifact in results.artifacts:
        assert sha256(robust / artifact.path) == artifact.sha256
    page = (robust / "report.html").read_text(encoding="utf-8")
    assert "PGD-2, Linf 0.1" in page and "small_resnet on digits" in page


def test_the_best_epoch_is_chosen_on_val_and_reported_on_test(robust: Path) -> None:
    results = read(robust)
    log = [json.loads(line) for line in (robust / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [0, 1, 2, 3]
    best = max(log, key=lambda row: (row["robust"], -row["epoch"]))
    assert results.facts["best epoch"] == best["epoch"] + 1
    (chosen,) = results.select("robust accuracy", chosen=True)
    assert (chosen.split, chosen.n, chosen.value) == ("val", 100, best["robust"])
    finals = [(m.quantity, m.n) for m in results.measurements if m.split == "test"]
    assert finals == [("clean accuracy", 100), ("robust accuracy", 100)]
    assert any("test split was read once" in note for note in results.notes)


def test_load_needs_no_flag_and_gives_the_accuracy_that_was_reported(robust: Path) -> None:
    network = package.load(robust)
    assert not network.training
    test = limited(package.load_data("digits", val_fraction=0.2).test, 100, 0)
    accuracy = float(rightly(network, test).double().mean())
    assert accuracy == read(robust).one("clean accuracy", split="test").value > 0.5


def test_standard_training_chooses_by_clean_accuracy(tmp_path: Path) -> None:
    out = tmp_path / "standard"
    words = replaced(TRAIN, "--epochs", "2")
    assert hardy(*words, "--method", "standard", "--out", out) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    best = max(log, key=lambda row: (row["clean"], -row["epoch"]))
    assert read(out).facts["best epoch"] == best["epoch"] + 1


def test_config_json_is_enough_to_run_again_to_the_same_bits(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert hardy(*replaced(TRAIN, "--epochs", "2"), "--out", first) == 0
    results = package.train(**arguments(first), out=second)
    assert timeless(results) == timeless(read(first))
    assert_same(weights(first), weights(second))


def test_another_seed_is_another_network_on_the_same_val(robust: Path, tmp_path: Path) -> None:
    assert hardy(*replaced(TRAIN, "--epochs", "1"), "--seed", "1", "--out", tmp_path / "o") == 0
    assert not torch.equal(weights(robust)["conv1.weight"], weights(tmp_path / "o")["conv1.weight"])
    one, other = package.load(robust), package.load(tmp_path / "o")
    assert [name for name, _ in one.named_parameters()] == [n for n, _ in other.named_parameters()]


def test_training_goes_on_from_a_checkpoint(robust: Path, foreign: Path, tmp_path: Path) -> None:
    tiny = replaced(replaced(TRAIN, "--epochs", "1"), "--lr", "1e-9")
    for name, path in (("ours", robust), ("theirs", foreign)):
        assert hardy(*tiny, "--checkpoint", path, "--out", tmp_path / name) == 0
    start = weights(robust)["linear.weight"]
    for name in ("ours", "theirs"):
        assert torch.allclose(weights(tmp_path / name)["linear.weight"], start, atol=1e-6)


def test_without_out_runs_are_numbered_and_named(
    drawn: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert hardy(*replaced(TRAIN, "--epochs", "1")) == 0
        assert Path(f"runs/train-{number}/report.html").is_file()
        said = capsys.readouterr()
        assert f"run folder: runs/train-{number}" in said.err
        assert "clean accuracy, %" in said.out


def test_report_draws_the_same_page_from_the_results_alone(
    robust: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("results.json", "config.json"):
        (tmp_path / name).write_bytes((robust / name).read_bytes())
    assert hardy("report", tmp_path) == 0
    assert (tmp_path / "report.html").read_bytes() == (robust / "report.html").read_bytes()
    assert "pgd_at has" in capsys.readouterr().out
