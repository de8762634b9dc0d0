"""hardy transfer, and the networks of epochs that hardy train keeps for it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from test_resume import stop_at
from verb_runs import SMALL, TRAIN, hardy, replaced, timeless

import hardy as package
from hardy import load
from hardy.attacks.pgd import PGD
from hardy.data.load import load_data
from hardy.data.splits import limited
from hardy.diagnosis import transferability
from hardy.diagnosis.transferability import transfer
from hardy.evaluation.results import Results, read
from hardy.evaluation.robustness import Protocol, judge
from hardy.threat import Linf
from hardy.verbs.asked.inputs import DATA_SEED
from hardy.verbs.asked.networks import label_of

KEPT = (*replaced(TRAIN, "--epochs", "2"), "--keep-epochs", "1,2")
ON = ("--data", "digits", "--val-fraction", "0.2", "--eps", "0.1", "--steps", "2")
ON += ("--limit", "150", "--batch-size", "32", "--device", "cpu")
EPOCHS: tuple[str, ...] = ("plain/epoch-1", "plain/epoch-2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of standard training, two epochs, both kept."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("kept") / "plain"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        assert hardy(*KEPT, "--method", "standard", "--out", folder) == 0
    return folder


def epochs(folder: Path) -> tuple[Path, Path]:
    return folder / "epoch-1.safetensors", folder / "epoch-2.safetensors"


def test_train_keeps_the_networks_of_the_epochs_that_were_asked_for(plain: Path) -> None:
    first, second = epochs(plain)
    results = read(plain)
    noted = {a.path: a.kind for a in results.artifacts}
    assert noted[first.name] == noted[second.name] == "weights"
    assert not (plain / "epoch-0.safetensors").exists()
    best = epochs(plain)[int(results.facts["best epoch"]) - 1]  # type: ignore[arg-type]
    assert best.read_bytes() == (plain / "best.safetensors").read_bytes()
    assert first.read_bytes() != second.read_bytes()
    assert load(first)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_resumed_run_keeps_the_same_networks(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*KEPT, "--method", "standard", "--out", tmp_path / "plain")
    with monkeypatch.context() as patch:
        stop_at(patch, "hardy.training.checkpoint.save", 2)  # kept, but not yet saved
        assert hardy(*words) == 130
    assert epochs(tmp_path / "plain")[1].is_file()
    assert hardy(*words, "--resume") == 0
    for one, other in zip(epochs(plain), epochs(tmp_path / "plain"), strict=True):
        assert one.read_bytes() == other.read_bytes()
    mine, theirs = ({a.path: a.sha256 for a in read(f).artifacts} for f in (plain, words[-1]))
    assert mine == theirs


def test_every_cell_is_that_of_the_networks_themselves(
    drawn: None, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t"
    words = ("transfer", *epochs(plain), *ON, "--attack", "pgd", "mi-fgsm", "--seed", "3")
    assert hardy(*words, "--out", out) == 0
    results, nets = read(out), dict(zip(EPOCHS, map(load, epochs(plain)), strict=True))
    test = limited(load_data("digits", val_fraction=0.2).test, 150, DATA_SEED)
    attack = PGD(Linf(0.1), steps=2)
    for cell in transfer(nets, nets, test, attack, seed=3, batch_size=64).cells():
        about = {"subject": cell.target, "surrogate": cell.surrogate, "attack": "PGD"}
        m = results.one("transfer success", **about)
        assert (m.value, m.n, m.interval) == (cell.success, cell.n, cell.interval)
        wanted = {"norm": "linf", "eps": 0.1, "steps": 2, "targeted": False, "seed": 3}
        assert m.setting.items() >= wanted.items() and m.split == "test"
        if cell.surrogate == cell.target:
            protocol = Protocol(attack, restarts=1, seed=3, batch_size=64)
            verdicts = judge(nets[cell.target], test, protocol)
            stands = int(verdicts.robust.sum())
            assert (cell.n, cell.n - cell.fooled) == (int(verdicts.clean.sum()), stands)
            clean = results.one("clean accuracy", subject=cell.target)
            assert clean.value == cell.n / 150
    assert len(list(results.select("transfer success", attack="MI-FGSM", momentum=1.0))) == 4
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="transfer"' in page and "A map of surrogates by targets for 2 attacks" in page
    assert "of different networks" in page and (out / "figures" / "transfer.png").is_file()
    assert "plain/epoch-1 | plain/epoch-2" in (out / "tables.md").read_text(encoding="utf-8")


def test_targets_of_their_own_surrogates_compared_and_aims(plain: Path, tmp_path: Path) -> None:
    first, second = epochs(plain)
    third = tmp_path / "copy.safetensors"
    shutil.copy(second, third)
    results = package.transfer(
        surrogates=(first, second),
        targets=(third,),
        data="digits",
        val_fraction=0.2,
        eps=0.1,
        steps=2,
        limit=100,
        targeted=True,
        device="cpu",
        out=tmp_path / "t",
    )
    cells = {m.setting["surrogate"]: m for m in results.select("transfer success")}
    assert list(cells) == list(EPOCHS) and {m.subject for m in cells.values()} == {"copy"}
    assert all(m.setting["targeted"] is True for m in cells.values())
    common = list(results.select("transfer success on common pictures"))
    gain = results.one("transfer success gain", surrogate=EPOCHS[0], other=EPOCHS[1])
    assert {m.n for m in common} == {gain.n}  # two surrogates: the same pictures
    assert gain.value == pytest.approx(common[0].value - common[1].value, abs=1e-12)
    assert any("copy has the weights of plain/epoch-2" in note for note in results.notes)
    assert [m.subject for m in results.select("clean accuracy")] == [*EPOCHS, "copy"]


def test_what_was_stopped_goes_on_to_the_same_results(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("transfer", *epochs(plain), *ON, "--attack", "pgd", "mi-fgsm")
    said, calls = transferability._class_of, []
    with monkeypatch.context() as patch:
        patch.setattr(transferability, "_class_of", lambda *a: calls.append(1) or said(*a))
        assert hardy(*words, "--out", tmp_path / "whole") == 0
    parts = (*words, "--out", tmp_path / "parts")
    with monkeypatch.context() as patch:  # in the last batch of the second attack
        stop_at(patch, "hardy.diagnosis.transferability._class_of", len(calls))
        assert hardy(*parts) == 130
    assert not (tmp_path / "parts" / "results.json").exists()
    made = len(calls)
    with monkeypatch.context() as patch:
        patch.setattr(transferability, "_class_of", lambda *a: calls.append(1) or said(*a))
        assert hardy(*parts, "--resume") == 0
    assert len(calls) - made == 2  # both targets of that batch, and no other
    whole, again = (timeless(read(tmp_path / name)) for name in ("whole", "parts"))
    assert whole == again


def test_a_run_does_not_go_on_with_another_network(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = epochs(plain)
    shutil.copy(first, tmp_path / "net.safetensors")
    words = ("transfer", tmp_path / "net.safetensors", second, *ON, "--out", tmp_path / "t")
    assert hardy(*words) == 0
    shutil.copy(second, tmp_path / "net.safetensors")
    assert hardy(*words, "--resume") == 2
    assert "started with other weights in net" in capsys.readouterr().err


def test_means_over_the_networks_of_several_seeds(plain: Path, tmp_path: Path) -> None:
    for name, seed in itertools.product(("a", "b"), range(2)):
        folder = tmp_path / name / f"seed-{seed}"
        folder.mkdir(parents=True)
        shutil.copy(epochs(plain)[(seed + (name == "b")) % 2], folder / "best.safetensors")
    given = [tmp_path / name / "seed-{seed}" for name in ("a", "b")]
    out = tmp_path / "t"
    assert hardy("transfer", *given, *ON, "--seeds", "0,1", "--out", out) == 0
    results = read(out)
    # a and b change places between the seeds, so each mean is of the same two networks.
    of = {"of": "transfer success", "surrogate": "a"}
    mean = results.one("mean over seeds", subject="mean of 2 seeds: b", **of)
    runs: list[Results] = [read(out / f"seed-{seed}") for seed in range(2)]
    own = [
        one.one("transfer success", subject=f"b/seed-{seed}", surrogate=f"a/seed-{seed}")
        for seed, one in enumerate(runs)
    ]
    assert mean.value == pytest.approx(sum(m.value for m in own) / 2)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("runs/at", "at"),
        ("runs/at/best.safetensors", "at"),
        ("runs/at/epoch-5.safetensors", "at/epoch-5"),
        ("runs/at/seed-2", "at/seed-2"),
        ("runs/at/seed-2/epoch-10.safetensors", "at/seed-2/epoch-10"),
        ("epoch-5.safetensors", "epoch-5"),
        ("published.pt", "published"),
    ],
)
def test_names_of_networks(path: str, label: str) -> None:
    assert label_of(Path(path), ()) == label
    assert label_of(Path(path), (label,)) == (path if path != label else f"{path} (2)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to attack: give run folders or checkpoints"),
        (("--checkpoint", "{first}", "{first}"), "give surrogates by position or one by"),
        (("{first}", "--attack", "square"), "square cannot be carried over: take pgd, fgsm"),
        (("{first}", "--targets", "nowhere"), "nowhere"),
        (("{first}", "--limit", "0"), "--limit must be at least 1"),
        (("{first}", "--eps", "0"), "--eps must be positive"),
        (("{first}", "--image-size", "8", "--channels", "3"), "takes 1 colour channels"),
    ],
)
def test_mistakes_are_one_line_before_a_file(
    words: tuple[str, ...],
    said: str,
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [word.format(first=epochs(plain)[0]) for word in words]
    wanted = replaced(("transfer", *given), "--data", "digits")
    assert hardy(*wanted, "--out", tmp_path / "t") == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3", "--keep-epochs 3 never comes: --epochs is 2"),
        ("0", "--keep-epochs must be at least 1"),
    ],
)
def test_epochs_that_never_come(
    value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hardy(*replaced(KEPT, "--keep-epochs", value), "--out", tmp_path / "t") == 2
    assert said in capsys.readouterr().err and not (tmp_path / "t").exists()


def test_evaluate_attacks_with_momentum(plain: Path, tmp_path: Path) -> None:
    few = ("--limit", "40", "--curve-pictures", "0", "--preflight-pictures", "0")
    words = ("evaluate", epochs(plain)[1], *SMALL, *few, "--attack", "mi-fgsm")
    assert hardy(*words, "--out", tmp_path / "e") == 0
    m = read(tmp_path / "e").one("robust accuracy")
    wanted = {"attack": "MI-FGSM", "steps": 2, "step_size": 0.05, "momentum": 1.0}
    assert m.setting.items() >= wanted.items()
