"""hardy mrc and hardy evaluate."""

from __future__ import annotations

from pathlib import Path

from verb_runs import MRC, SMALL, arguments, hardy

import hardy as package
from hardy.evaluation.results import read
from hardy.finetuning.mrc import candidates
from hardy.models.load import load


def test_mrc_measures_every_module_and_names_the_least(
    drawn: None, robust: Path, tmp_path: Path
) -> None:
    assert hardy(*MRC, "--checkpoint", robust, "--out", tmp_path / "mrc") == 0
    results = read(tmp_path / "mrc")
    found = {m.subject: m for m in results.select("mrc")}
    assert list(found) == candidates(load(robust))
    for one in found.values():
        assert one.value >= 0 and one.interval and (one.split, one.n) == ("train", 64)
    assert results.facts["least critical"] == min(found.values(), key=lambda m: m.value).subject
    assert "least critical" in (tmp_path / "mrc" / "report.html").read_text(encoding="utf-8")
    repeated = package.mrc(**arguments(tmp_path / "mrc"), out=tmp_path / "again")
    assert [m.value for m in repeated.select("mrc")] == [m.value for m in found.values()]


def test_mrc_of_a_foreign_file_is_that_of_the_same_weights(
    robust: Path, foreign: Path, tmp_path: Path
) -> None:
    named = ("--checkpoint", foreign, "--model", "small_resnet")
    assert hardy(*MRC, "--checkpoint", robust, "--out", tmp_path / "a") == 0
    assert hardy(*MRC, *named, "--out", tmp_path / "b") == 0
    ours, theirs = (list(read(tmp_path / name).select("mrc")) for name in "ab")
    assert ours == theirs


def test_a_cap_on_train_holds_for_mrc_too(robust: Path, tmp_path: Path) -> None:
    capped = ("--limit", "40", "--checkpoint", robust, "--out", tmp_path / "mrc")
    assert hardy(*MRC, *capped) == 0
    assert {m.n for m in read(tmp_path / "mrc").select("mrc")} == {40}


def test_two_run_folders_are_compared_on_the_same_pictures(
    drawn: None, robust: Path, better: Path, tmp_path: Path
) -> None:
    assert hardy("evaluate", robust, better, *SMALL, "--out", tmp_path / "e") == 0
    results = read(tmp_path / "e")
    assert [m.subject for m in results.select("clean accuracy")] == ["robust", "better"]
    aside = {"class accuracy", "parameters", "weights", "operations"}
    assert {m.n for m in results.measurements if m.quantity not in aside} == {449}
    assert (tmp_path / "e" / "report.html").is_file()
    for quantity in ("clean accuracy", "robust accuracy"):
        before, after = (results.one(quantity, subject=name) for name in ("robust", "better"))
        gain = results.one(f"{quantity} gain", subject="better − robust")
        assert abs(gain.value - (after.value - before.value)) < 1e-12
        assert gain.value == (gain.setting["gained"] - gain.setting["lost"]) / 449  # type: ignore[operator]


def test_one_foreign_file_is_evaluated_by_its_name(
    robust: Path, foreign: Path, tmp_path: Path
) -> None:
    named = ("--checkpoint", foreign, "--model", "small_resnet", "--limit", "100")
    assert hardy("evaluate", *named, *SMALL, "--out", tmp_path / "e") == 0
    results = read(tmp_path / "e")
    reported = read(robust)
    for quantity in ("clean accuracy", "robust accuracy"):
        # The same pictures, starts and weights as at the end of training: the same numbers.
        kept = reported.one(quantity, split="test", subject="pgd_at")
        assert results.one(quantity).value == kept.value
    assert any("no normalisation" in note for note in results.notes)


def test_files_of_one_name_keep_apart(foreign: Path, robust: Path, tmp_path: Path) -> None:
    copy = tmp_path / "robust" / "best.safetensors"
    copy.parent.mkdir()
    copy.write_bytes((robust / "best.safetensors").read_bytes())
    pair = (robust, copy)
    assert hardy("evaluate", *pair, *SMALL, "--limit", "20", "--out", tmp_path / "e") == 0
    assert len({m.subject for m in read(tmp_path / "e").select("clean accuracy")}) == 2
