"""hardy evaluate --equal-clean: every reading follows from the points of its curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from verb_runs import SMALL, hardy, timeless

import hardy as package
from hardy.data.load import load_data
from hardy.evaluation.crossing import Reading
from hardy.evaluation.results import Results, read
from hardy.evaluation.steps import Steps
from hardy.finetuning import rift
from hardy.verbs import evaluate
from hardy.verbs.evaluating import equal_clean

AT = "robust accuracy at equal clean accuracy"
ADDED = ("clean accuracy at alpha", "robust accuracy at alpha", AT)
CHEAP = (
    *(*SMALL, "--limit", "120", "--curve-pictures", "0", "--preflight-pictures", "0"),
    *("--equal-clean-epochs", "4", "--equal-clean-lr", "0.01", "--equal-clean-pictures", "100"),
)
WORDS = (*CHEAP, "--equal-clean")


def evaluated(*words: object, out: Path) -> Results:
    with pytest.MonkeyPatch.context() as patch:  # fixtures of a wider scope draw nothing either
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        assert hardy("evaluate", *words, "--out", out) == 0
    return read(out)


@pytest.fixture(scope="module")
def thrice(robust: Path, better: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A network, a better one, and the first again."""
    return evaluated(robust, better, robust, *WORDS, out=tmp_path_factory.mktemp("thrice") / "e")


def curve(results: Results, subject: str, kind: str) -> np.ndarray:
    """The accuracies of a network by ascending α."""
    found = list(results.select(f"{kind} accuracy at alpha", subject=subject))
    assert [m.setting["alpha"] for m in found] == [i / 10 for i in range(11)]
    assert {(m.n, m.split) for m in found} == {(100, "test")}
    return np.array([m.value for m in found])


def test_readings_follow_from_the_points(thrice: Results, robust: Path) -> None:
    subjects = ("robust", "better", str(robust))
    curves = {s: [curve(thrice, s, kind) for kind in ("clean", "robust")] for s in subjects}
    level = max(clean[0] for clean, _ in curves.values())
    read_here = {m.subject: m for m in thrice.select(AT)}
    for subject, (clean, robustly) in curves.items():
        reached = np.flatnonzero(clean >= level)
        if not len(reached):
            assert subject not in read_here
            assert any(note.startswith(f"{subject} has no robust") for note in thrice.notes)
            continue
        i, one = int(reached[0]), read_here[subject]
        share = (level - clean[i - 1]) / (clean[i] - clean[i - 1]) if i else 0.0
        before = robustly[max(i - 1, 0)]
        assert one.value == pytest.approx(before + share * (robustly[i] - before))
        assert one.setting["alpha"] == pytest.approx(max(i - 1, 0) / 10 + share / 10 * (i > 0))
        assert one.setting["level"] == level and one.setting["restarts"] == 1
        assert one.setting["epochs"] == 4 and one.setting["lr"] == 0.01
    best = max(curves, key=lambda s: curves[s][0][0])
    assert read_here[best].setting["alpha"] == 0
    assert read_here[best].value == curves[best][1][0]


def test_differences_are_those_of_the_readings(thrice: Results) -> None:
    values = {m.subject: m.value for m in thrice.select(AT)}
    gains = {m.subject: m.value for m in thrice.select(f"{AT} gain")}
    first = values.get("robust")  # none where its way is too short, and then no differences
    others = {} if first is None else {s: values[s] - first for s in values if s != "robust"}
    assert gains == pytest.approx({f"{s} − robust": value for s, value in others.items()})


def test_a_network_does_not_differ_from_itself(thrice: Results, robust: Path) -> None:
    for kind in ("clean", "robust"):
        same = curve(thrice, str(robust), kind)
        np.testing.assert_array_equal(same, curve(thrice, "robust", kind))
    for gain in thrice.select(f"{AT} gain", subject=f"{robust} − robust"):
        assert gain.value == 0 and gain.interval in ((0, 0), None)


def test_nothing_else_is_changed(thrice: Results, robust: Path, better: Path) -> None:
    """Measurements, pictures and matrices are those of the same words without the flag."""
    assert thrice.folder is not None
    plain = evaluated(robust, better, robust, *CHEAP, out=thrice.folder.parent / "plain")
    rest = [m for m in timeless(thrice) if not m["quantity"].startswith(ADDED)]
    assert rest == timeless(plain)
    extra = {m.quantity for m in thrice.measurements} - {m.quantity for m in plain.measurements}
    assert {"clean accuracy at alpha", "robust accuracy at alpha", AT} <= extra
    assert [a.sha256 for a in thrice.artifacts] == [a.sha256 for a in plain.artifacts]


def test_a_network_that_never_comes_there_is_named(
    robust: Path, better: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = equal_clean.readings

    def lost(*args: object) -> list[Reading | None]:
        return [usual(*args)[0], None]  # type: ignore[arg-type]

    monkeypatch.setattr(equal_clean, "readings", lost)
    results = evaluated(robust, better, *WORDS, out=tmp_path / "e")
    assert not list(results.select(AT, subject="better"))
    assert not list(results.select(f"{AT} gain"))
    (note,) = [note for note in results.notes if note.startswith("better has no robust")]
    most = 100 * curve(results, "better", "clean").max()
    assert f"at equal clean accuracy: on its way it reaches {most:.2f} % clean at most" in note


def test_a_stopped_run_ends_as_one_that_was_not(
    robust: Path, better: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(robust, better, *WORDS, out=tmp_path / "whole")
    usual, kept = Steps.keep_tensors, []

    def stopping(self: Steps, name: str, tensors: dict[str, torch.Tensor]) -> None:
        usual(self, name, tensors)
        if self.folder is not None and self.folder.name == "1_equal_clean":
            kept.append(name)
        if len(kept) == 4:  # in the middle of the second network's way
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "keep_tensors", stopping)
        assert hardy("evaluate", robust, better, *WORDS, "--out", tmp_path / "e") == 130
    monkeypatch.setattr(rift, "tune", None)  # both copies were tuned and kept
    again = evaluated(robust, better, *WORDS, "--resume", out=tmp_path / "e")
    assert timeless(again) == timeless(whole) and again.notes == whole.notes


def test_a_fine_tuning_that_fails_does_so_before_the_attacks(
    robust: Path,
    better: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evaluate, "tallies", None)
    words = (robust, better, *WORDS, "--equal-clean-lr", "1e12", "--out", tmp_path / "e")
    capsys.readouterr()
    assert hardy("evaluate", *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("hardy: --equal-clean-lr, robust: all weights, lr 1e+12: ")
    assert "not finite" in said


def test_files_from_elsewhere_are_compared_too(foreign: Path, tmp_path: Path, robust: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save(torch.load(foreign, weights_only=True), other)
    words = (foreign, other, "--model", "small_resnet", "--normalize", "none", *WORDS)
    results = evaluated(*words, out=tmp_path / "e")
    assert {m.subject for m in results.select("clean accuracy at alpha")} == {"robust", "other"}
    assert curve(results, "robust", "clean")[0] > 0.5
    np.testing.assert_array_equal(
        curve(results, "robust", "robust"), curve(results, "other", "robust")
    )


def test_other_training_pictures_are_refused(
    robust: Path, better: Path, tmp_path: Path, undrawn: None
) -> None:
    data = load_data("digits", None, val_fraction=0.2, seed=0)
    asked = {"checkpoints": (robust, better), "device": "cpu", "limit": 20, "steps": 1}
    asked |= {"curve_pictures": 0, "preflight_pictures": 0, "equal_clean": True, "eps": 0.1}
    asked |= {"equal_clean_epochs": 1, "equal_clean_pictures": 10, "out": tmp_path / "e"}
    package.evaluate(**asked, data=data)  # type: ignore[arg-type]
    fewer = replace(data, train=data.train.take(slice(0, 500)))
    with pytest.raises(ValueError, match="started with other train pictures: give the same"):
        package.evaluate(**asked, data=fewer, resume=True)  # type: ignore[arg-type]
