"""hardy train: what it leaves behind, and that it is enough to do it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from verb_runs import TRAIN, arguments, assert_same, hardy, replaced, timeless, weights

import hardy as package
from hardy.data.splits import Split, limited
from hardy.evaluation.results import read
from hardy.evaluation.robustness import Protocol, Verdicts, rightly
from hardy.evaluation.statistics import paired
from hardy.files import sha256
from hardy.models.load import read_checkpoint
from hardy.reporting.headline import headline
from hardy.verbs.train import _overfitting
from hardy.verbs.training.history import History


def test_the_run_folder_holds_all_that_was_promised(robust: Path) -> None:
    names = {path.name for path in robust.iterdir()}
    assert names == {
        "best.safetensors",
        "config.json",
        "figures",
        "last.ckpt",
        "last.safetensors",
        "log.jsonl",
        "report.html",
        "results.json",
        "steps",
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
    best = max(log, key=lambda row: (row["live"]["robust"], -row["epoch"]))
    assert results.facts["best epoch"] == best["epoch"] + 1
    (chosen,) = results.select("robust accuracy", chosen=True)
    assert (chosen.split, chosen.n, chosen.value) == (
        "val",
        100,
        best["live"]["robust"],
    )
    assert best is not log[3], "so that there is a last epoch beside it"
    finals = [(m.quantity, m.subject, m.n) for m in results.measurements if m.split == "test"]
    assert finals == [
        ("clean accuracy", "pgd_at", 100),
        ("robust accuracy", "pgd_at", 100),
        ("clean accuracy", "pgd_at, last epoch", 100),
        ("robust accuracy", "pgd_at, last epoch", 100),
        ("clean accuracy gain", "pgd_at, last epoch − pgd_at", 100),
        ("robust accuracy gain", "pgd_at, last epoch − pgd_at", 100),
    ]
    assert any("test split was read once" in note for note in results.notes)


def test_the_last_epoch_is_measured_beside_the_best(robust: Path) -> None:
    """On the same pictures, so that their difference is paired; its weights are kept too."""
    results = read(robust)
    state = torch.load(robust / "last.ckpt", weights_only=True)["model"]
    last = read_checkpoint(robust / "last.safetensors").model
    assert_same(dict(last.state_dict()), dict(state))
    test = limited(package.load_data("digits", val_fraction=0.2).test, 100, 0)
    before, after = (rightly(network, test) for network in (package.load(robust), last))
    found = results.one("clean accuracy", subject="pgd_at, last epoch")
    assert found.value == float(after.double().mean())
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    gain = results.one("clean accuracy gain")
    assert (gain.setting["gained"], gain.setting["lost"]) == (gained, lost)
    assert gain.value == (gained - lost) / 100 and gain.interval == paired(gained, lost, 100)
    assert not any("overfitting" in note for note in results.notes), "a tenth less of 100"


def test_where_the_last_epoch_is_the_best_it_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, val=[0.3, 0.4, 0.5], test=[0.5])
    assert hardy(*replaced(TRAIN, "--epochs", "3"), "--out", tmp_path / "run") == 0
    results = read(tmp_path / "run")
    assert results.facts["best epoch"] == 3
    assert [m.subject for m in results.measurements if m.split == "test"] == ["pgd_at"] * 2
    assert not (tmp_path / "run" / "last.safetensors").exists()


def scripted(monkeypatch: pytest.MonkeyPatch, val: list[float], test: list[float]) -> None:
    """Robust accuracies in place of those of the networks; all are right on the pictures."""
    shares = {"val": iter(val), "test": iter(test)}

    def judged(model: nn.Module, split: Split, protocol: Protocol, label: str) -> Verdicts:
        n = len(split)
        place = torch.arange(n)
        return Verdicts(place >= 0, place < round(next(shares[split.name]) * n))

    monkeypatch.setattr("hardy.verbs.train.judge", judged)


@pytest.mark.parametrize(
    ("last", "said"),
    [(0.50, False), (0.47, False), (0.43, True), (0.60, False)],
)
def test_robust_overfitting_is_said_where_the_difference_is_more_than_chance(
    last: float, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 pictures 50 stand in epoch 2 and so many in epoch 4. The paired interval adds one
    to each count: where 3 were lost it is -3/102 ± 1.96 sqrt((5/102 - (3/102)^2) / 102), up to
    0.013; where 7 were lost -7/102 ± 1.96 sqrt((9/102 - (7/102)^2) / 102), up to -0.013."""
    scripted(monkeypatch, [0.3, 0.5, 0.4, 0.4], [0.5, last])
    assert hardy(*TRAIN, "--out", tmp_path / "run") == 0
    results = read(tmp_path / "run")
    (gain,) = results.select("robust accuracy gain")
    assert gain.value == pytest.approx(last - 0.5)
    assert gain.interval is not None and (gain.interval[1] < 0) == said
    notes = [note for note in results.notes if note.startswith("Robust overfitting: ")]
    assert len(notes) == said
    assert all("less robust than epoch 2, which was kept" in note for note in notes)


class Epochs(History):
    """A history of nothing but these robust accuracies on 1000 pictures."""

    def __init__(self, robust: list[float], select_on: str = "robust") -> None:
        self.kinds, self.select_on, self.val = ("live",), select_on, [0] * 1000  # type: ignore[assignment]
        self.events, self.settled = [], 0
        self.rows = [
            {"epoch": i, "live": {"clean": 0.9 - 0.01 * i, "robust": value}}
            for i, value in enumerate(robust)
        ]


@pytest.mark.parametrize(
    ("interval", "history", "epoch"),
    [
        ((-0.2, -0.1), Epochs([0.5, 0.4]), 1),
        ((-0.2, -1e-9), Epochs([0.4, 0.5, 0.4]), 2),
        ((-0.2, 0.0), Epochs([0.5, 0.4]), None),
        ((0.1, 0.2), Epochs([0.5, 0.4]), None),
        (None, Epochs([0.5, 0.4]), None),
        ((-0.4, -0.3), Epochs([0.5, 0.1, 0.1]), None),  # catastrophic, and said in the events
        ((-0.2, -0.1), Epochs([0.5, 0.4], "clean"), None),  # it was never meant to be robust
    ],
)
def test_what_counts_as_robust_overfitting(
    interval: tuple[float, float] | None, history: History, epoch: int | None
) -> None:
    found = _overfitting(interval, history)
    assert len(found) == (epoch is not None)
    assert all(f"less robust than epoch {epoch}, " in note for note in found)


def test_a_fall_in_the_last_epoch_is_catastrophic_overfitting() -> None:
    (note,) = _overfitting((-0.4, -0.3), Epochs([0.5, 0.1]))
    assert note.startswith("Catastrophic overfitting in the last epoch")


def test_a_run_that_was_taken_back_may_still_overfit_robustly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 2 collapses, is tried again, and later epochs lose a little for good."""
    scripted(monkeypatch, [0.5, 0.0, 0.6, 0.4, 0.4], [0.6, 0.4])
    assert hardy(*TRAIN, "--on-collapse", "rollback", "--out", tmp_path / "run") == 0
    notes = read(tmp_path / "run").notes
    assert any(note.startswith("Epoch 2 collapsed (robust accuracy on val fell") for note in notes)
    assert any(note.startswith("Robust overfitting: ") for note in notes)
    (row, *_) = read(tmp_path / "run").select("robust accuracy", chosen=True)
    assert row.setting["epoch"] == 2


def test_a_run_that_collapses_is_ended_and_says_so_and_resuming_measures_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        scripted(patch, [0.5, 0.02, 0.02], [0.5, 0.01])
        assert hardy(*TRAIN, "--out", out) == 0
    first = read(out)
    assert first.facts["best epoch"] == 1
    (note,) = [n for n in first.notes if n.startswith("Catastrophic overfitting from epoch 2 on")]
    assert "fell from 50.0 % to 2.0 %; the run was ended there." in note
    assert not any(n.startswith("Robust overfitting") for n in first.notes)
    assert first.one("robust accuracy", subject="pgd_at", split="test").value == 0.5
    with monkeypatch.context() as patch:
        scripted(patch, [], [0.5, 0.01])
        assert hardy(*TRAIN, "--out", out, "--resume") == 0
    assert timeless(read(out)) == timeless(first) and read(out).notes == first.notes


FORGETFUL = '''
"""PGD-AT that turns to clean pictures half-way: its robustness goes, its accuracy does not."""
from dataclasses import dataclass

from hardy.losses import cross_entropy
from hardy.methods.protocol import Method
from hardy.modes import evaluating


@dataclass(frozen=True)
class Forgetful(Method):
    def adversary(self, nets, batch, attack):
        with evaluating(nets.module):
            return attack(nets.forward, batch.x, batch.y, batch.draws)

    def loss(self, nets, batch, x_adv, progress):
        x = x_adv if progress < 0.5 else batch.x
        return {"loss": cross_entropy(nets.student(x), batch.y).mean()}
'''


def test_a_network_that_truly_loses_its_robustness_is_caught(tmp_path: Path) -> None:
    """No verdict is scripted: the attack on val finds it."""
    method = tmp_path / "forgetful.py"
    method.write_text(FORGETFUL)
    words = replaced(TRAIN, "--epochs", "10")
    for flag, value in (("--limit", "1000"), ("--eps", "0.2"), ("--steps", "5")):
        words = replaced(words, flag, value)
    assert hardy(*words, "--method", method, "--out", tmp_path / "run") == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    robust, clean = ([row["live"][of] for row in log] for of in ("robust", "clean"))
    assert 6 < len(log) < 10, "not before it was taught to, and not to the end"
    assert max(robust[-2:]) < max(robust) / 4 and clean[-1] > max(clean) / 2
    results = read(tmp_path / "run")
    assert results.facts["best epoch"] == robust.index(max(robust)) + 1
    first = len(log) - 1
    assert any(f"Catastrophic overfitting from epoch {first} on: " in n for n in results.notes)


SPOILT = '''
"""PGD-AT with a term that is no number from half of the run on."""
from dataclasses import dataclass

from hardy.losses import cross_entropy
from hardy.methods.protocol import Method


@dataclass(frozen=True)
class Spoilt(Method):
    def adversary(self, nets, batch, attack):
        return batch.x

    def loss(self, nets, batch, x_adv, progress):
        loss = cross_entropy(nets.student(x_adv), batch.y).mean()
        return {"loss": loss if progress < 0.5 else loss * float("nan"), "plain": loss}
'''


def test_what_was_saved_before_a_loss_was_no_number_is_still_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four epochs of eight steps: the seventeenth is the first of epoch 3. The state of epoch 2
    goes on to the same mistake; its weights serve another run."""
    method = tmp_path / "spoilt.py"
    method.write_text(SPOILT)
    out, words = tmp_path / "run", (*TRAIN, "--method", method)
    assert hardy(*words, "--out", out) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "'loss' is not finite in step 17: lower the learning rate (it is 0.2)" in line
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert before.keys() == {"config.json", "log.jsonl", "best.safetensors", "last.ckpt"}
    state = torch.load(out / "last.ckpt", weights_only=True)
    assert state["epoch"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())
    assert all(value.isfinite().all() for value in weights(out).values())
    assert hardy(*words, "--out", out, "--resume") == 2
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    slower = replaced(replaced(TRAIN, "--epochs", "1"), "--lr", "1e-9")
    assert hardy(*slower, "--checkpoint", out, "--out", tmp_path / "on") == 0
    start = weights(out)["linear.weight"]
    assert torch.allclose(weights(tmp_path / "on")["linear.weight"], start, atol=1e-6)


def test_averaged_weights_become_the_best_and_the_live_ones_lie_beside_them(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    more = ("--average", "swa", "--average-start", "0.4")
    assert hardy(*TRAIN, *more, "--out", out) == 0
    results = read(out)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    subjects = {"pgd_at + SWA": "average", "pgd_at": "live"}
    test = limited(package.load_data("digits", val_fraction=0.2).test, 100, 0)
    for subject, kind in subjects.items():
        best = max(log, key=lambda row, kind=kind: (row[kind]["robust"], -row["epoch"]))
        (chosen,) = results.select("robust accuracy", chosen=True, subject=subject)
        assert (chosen.setting["epoch"], chosen.value) == (best["epoch"] + 1, best[kind]["robust"])
        file = {"average": "best.safetensors", "live": "live.safetensors"}[kind]
        network = read_checkpoint(out / file).model
        reported = results.one("clean accuracy", split="test", subject=subject)
        assert reported.value == float(rightly(network, test).double().mean())
    assert not torch.equal(
        weights(out)["linear.weight"],
        read_checkpoint(out / "live.safetensors").model.state_dict()["linear.weight"],
    )


def test_load_needs_no_flag_and_gives_the_accuracy_that_was_reported(robust: Path) -> None:
    network = package.load(robust)
    assert not network.training
    test = limited(package.load_data("digits", val_fraction=0.2).test, 100, 0)
    accuracy = float(rightly(network, test).double().mean())
    reported = read(robust).one("clean accuracy", split="test", subject="pgd_at")
    assert accuracy == reported.value > 0.5


def test_standard_training_chooses_by_clean_accuracy(tmp_path: Path) -> None:
    out = tmp_path / "standard"
    words = replaced(TRAIN, "--epochs", "2")
    assert hardy(*words, "--method", "standard", "--out", out) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    best = max(log, key=lambda row: (row["live"]["clean"], -row["epoch"]))
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
    printed = " ".join(capsys.readouterr().out.split())
    assert headline(read(robust)) in printed
