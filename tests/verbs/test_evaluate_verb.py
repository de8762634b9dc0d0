"""hardy evaluate: every number follows from the same verdicts, picture by picture, whoever
counts them: in one go, after a stop, or in several processes."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verb_runs import SMALL, hardy, replaced, timeless

import hardy as package
from hardy.attacks import autoattack
from hardy.attacks.square import Square
from hardy.data.corruptions import FAMILIES, SEVERITIES, STANDARD
from hardy.data.splits import Split
from hardy.evaluation.results import Finding, Measurement, Results, read
from hardy.evaluation.steps import Steps
from hardy.models.architecture import Architecture
from hardy.verbs import evaluate
from hardy.verbs.asked import protocols
from hardy.verbs.evaluating import measuring, shards, tallies

QUICK = (
    *replaced(SMALL, "--batch-size", "16"),
    *("--curve-points", "3", "--curve-pictures", "40", "--preflight-pictures", "0"),
)
COLOUR = (*replaced(QUICK, "--eps", "2/255"), "--limit", "30")


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> str:
    """--data of four classes of tinted 32×32 pictures."""
    folder = tmp_path_factory.mktemp("coloured")
    arrays: dict[str, Any] = {}
    tints = np.array([[180, 90, 90], [90, 180, 90], [90, 90, 180], [120, 120, 120]])
    for split, count in (("train", 96), ("test", 40)):
        rng = np.random.default_rng(count)
        labels = np.arange(count) % 4
        noise = rng.integers(-70, 70, (count, 32, 32, 3))
        arrays[f"{split}_images"] = (tints[labels][:, None, None] + noise).clip(0, 255)
        arrays[f"{split}_images"] = arrays[f"{split}_images"].astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(folder / "tints.npz", **arrays)
    return f"npz:{folder / 'tints.npz'}"


@pytest.fixture(scope="session")
def tinted(coloured: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two networks that know them, of two seeds."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tinted")
    words = ("train", *replaced(SMALL, "--data", coloured), "--model", "small_resnet")
    words = (*words, "--method", "standard", "--epochs", "5")
    for seed in ("0", "1"):
        more = ("--seed", seed, "--schedule", "constant", "--lr", "0.05", "--batch-size", "16")
        assert hardy(*words, *more, "--out", folder / seed) == 0
    return folder / "0", folder / "1"


def evaluated(*words: object, out: Path) -> Results:
    with pytest.MonkeyPatch.context() as patch:  # fixtures of a wider scope draw nothing either
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        assert hardy("evaluate", *words, "--out", out) == 0
    return read(out)


def by_subject(results: Results, quantity: str) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for one in results.select(quantity):
        found.setdefault(one.subject, []).append(one)
    return found


@pytest.fixture(scope="module")
def twice(robust: Path, better: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A network, itself again, and another one, under two attacks."""
    folder = tmp_path_factory.mktemp("twice") / "e"
    words = (robust, robust, better, *QUICK, "--limit", "200", "--attack", "fgsm", "pgd")
    return evaluated(*words, "--over-seeds", out=folder)


def test_a_network_gains_nothing_over_itself(twice: Results, robust: Path) -> None:
    subject = f"{robust} − robust"
    gains = [m for m in twice.measurements if m.subject == subject]
    assert [m.quantity for m in gains] == ["clean accuracy gain"] + ["robust accuracy gain"] * 2
    for one in gains:
        assert one.value == 0 and one.setting["p"] == 1
        assert one.setting["gained"] == one.setting["lost"] == 0
    assert {m.setting["attack"] for m in gains[1:]} == {"FGSM", "PGD"}
    for quantity in ("clean accuracy", "robust accuracy", "robust accuracy at radius"):
        same = by_subject(twice, quantity)
        assert [m.value for m in same["robust"]] == [m.value for m in same[str(robust)]]


def test_gains_are_differences_of_accuracies(twice: Results) -> None:
    for quantity in ("clean accuracy", "robust accuracy"):
        for gain in twice.select(f"{quantity} gain", subject="better − robust"):
            attack = gain.setting.get("attack")
            about = {} if attack is None else {"attack": attack}
            before, after = (twice.one(quantity, subject=s, **about) for s in ("robust", "better"))
            assert gain.value == pytest.approx(after.value - before.value, abs=1e-12)
            assert 0 < float(gain.setting["p"] or 0) <= 1


def test_confusion_matrices_add_up_to_the_accuracies(twice: Results) -> None:
    assert twice.folder is not None
    with np.load(twice.folder / "confusion.npz", allow_pickle=False) as file:
        kept = dict(file)
    assert kept["classes"].tolist() == list("0123456789")
    # Classes and pictures are of the last attack that was named.
    settings: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("clean", "clean accuracy", {}),
        ("adversarial", "robust accuracy", {"attack": "PGD"}),
    )
    for subject in by_subject(twice, "clean accuracy"):
        for kind, quantity, about in settings:
            matrix = kept[f"{subject}/{kind}"]
            assert matrix.shape == (10, 10) and matrix.sum() == 200
            whole = twice.one(quantity, subject=subject, **about)
            assert matrix.trace() == round(whole.value * 200)
            classes = list(twice.select("class accuracy", subject=subject, kind=kind, **about))
            assert [m.n for m in classes] == matrix.sum(1).tolist()
            assert [m.value for m in classes] == (matrix.diagonal() / matrix.sum(1)).tolist()
            assert [m.setting["class"] for m in classes] == kept["classes"].tolist()


def test_the_curve_starts_at_clean_accuracy_and_never_rises(twice: Results) -> None:
    for points in by_subject(twice, "robust accuracy at radius").values():
        values = [m.value for m in points]
        assert [m.setting["eps"] for m in points] == [0, 0.1, 0.2]
        assert values == sorted(values, reverse=True) and values[0] > values[-1]
        assert {m.n for m in points} == {40}
        assert {m.setting["attack"] for m in points} == {"PGD"}


def test_a_curve_on_all_pictures_starts_at_clean_accuracy(robust: Path, tmp_path: Path) -> None:
    words = ("--limit", "60", "--curve-pictures", "60")
    results = evaluated(robust, *replaced(QUICK, "--curve-points", "2"), *words, out=tmp_path / "e")
    start, end = results.select("robust accuracy at radius")
    assert start.value == results.one("clean accuracy").value and end.setting["eps"] == 0.2


def test_broken_pictures_are_broken(twice: Results) -> None:
    assert twice.folder is not None
    artifacts = {a.kind: a.path for a in twice.artifacts}
    assert (
        artifacts.items() >= {"confusion": "confusion.npz", "broken pictures": "broken.npz"}.items()
    )
    with np.load(twice.folder / "broken.npz", allow_pickle=False) as file:
        kept = dict(file)
    labels, clean = kept["labels"], kept["clean"].astype(int)
    assert len(labels) == 12 and clean.shape == (12, 1, 8, 8)
    anyone = np.zeros(12, bool)
    for subject in by_subject(twice, "clean accuracy"):
        broken, x_adv = kept[f"{subject}/broken"], kept[f"{subject}/adversarial"].astype(int)
        moved = np.abs(x_adv - clean).max((1, 2, 3))
        assert (moved <= np.ceil(0.1 * 255)).all()
        assert (moved[~broken] == 0).all() and (moved[broken] > 0).all()
        assert (kept[f"{subject}/clean class"][broken] == labels[broken]).all()
        assert (kept[f"{subject}/adversarial class"][broken] != labels[broken]).all()
        anyone |= broken
    assert anyone.all()


def test_the_mean_over_seeds_is_that_of_the_networks(twice: Results) -> None:
    found = list(twice.select("mean over seeds"))
    assert [m.setting["of"] for m in found] == ["clean accuracy"] + ["robust accuracy"] * 2
    for one in found:
        about = {key: one.setting[key] for key in ("attack",) if key in one.setting}
        values = [m.value for m in twice.select(str(one.setting["of"]), **about)]
        assert one.value == pytest.approx(statistics.fmean(values), abs=1e-12)
        assert one.setting["std"] == pytest.approx(statistics.stdev(values), abs=1e-12)
        half = 4.302652729696142 * statistics.stdev(values) / 3**0.5
        assert one.interval == pytest.approx((one.value - half, one.value + half), abs=1e-9)
        assert one.setting["networks"] == 3 and one.subject == "mean of 3 networks"


def test_stages_lead_from_clean_to_robust_accuracy(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoattack, "APGD", partial(autoattack.APGD, steps=10))
    words = (*QUICK, "--limit", "50", "--curve-pictures", "0", "--attack", "autoattack-quick")
    results = evaluated(robust, *words, out=tmp_path / "e")
    stages = list(results.select("robust accuracy so far"))
    assert [m.setting["stage"] for m in stages] == ["APGD-CE", "APGD-T"]
    standing = round(50 * results.one("clean accuracy").value)
    for one in stages:
        standing -= int(one.setting["broken"] or 0)
        assert round(50 * one.value) == standing
    robustly = results.one("robust accuracy", attack="AutoAttack quick")
    assert stages[-1].value == robustly.value
    assert not list(results.select("robust accuracy at radius"))


@pytest.fixture(scope="module")
def corrupted(
    coloured: str, tinted: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, list[tuple[int, str, int]]]:
    """Two networks under the standard corruptions, and every set of pictures that was made."""
    folder, made = tmp_path_factory.mktemp("corrupted") / "e", []
    usual = measuring.corrupted

    def counted(split: Split, name: str, severity: int, **more: Any) -> Split:
        made.append((len(split), name, severity))
        return usual(split, name, severity, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "corrupted", counted)
        words = (*replaced(COLOUR, "--data", coloured), "--corruptions", "standard", "fog")
        results = evaluated(*tinted, *words, "--corruption-pictures", "20", out=folder)
    return results, made


def test_corruptions_are_made_once_for_all_networks(
    corrupted: tuple[Results, list[tuple[int, str, int]]],
) -> None:
    _, made = corrupted
    whole = [(name, severity) for n, name, severity in made if n == 20]
    assert whole == [(name, severity) for name in STANDARD for severity in SEVERITIES]


def test_mean_corruption_accuracy_is_the_mean_of_its_cells(
    corrupted: tuple[Results, list[tuple[int, str, int]]],
) -> None:
    results, _ = corrupted
    for subject in ("0", "1"):
        cells = list(results.select("corruption accuracy", subject=subject))
        assert len(cells) == 75 and {m.n for m in cells} == {20}
        mean = results.one("mean corruption accuracy", subject=subject, of="standard 15")
        assert mean.value == pytest.approx(statistics.fmean(m.value for m in cells), abs=1e-12)
        for family in set(FAMILIES.values()):
            few = [m.value for m in cells if m.setting["family"] == family]
            mean = results.one("mean corruption accuracy", subject=subject, of=family)
            assert mean.value == pytest.approx(statistics.fmean(few), abs=1e-12)
        assert not list(results.select("mean corruption accuracy", of="extra 4"))
        about = {"source": "generated", "parameters": "cifar", "seed": 0}
        assert all(m.setting.items() >= about.items() for m in cells)
    gain = results.one("mean corruption accuracy gain", of="standard 15")
    before, after = (
        results.one("mean corruption accuracy", subject=s, of="standard 15") for s in ("0", "1")
    )
    assert gain.subject == "1 − 0"
    assert gain.value == pytest.approx(after.value - before.value, abs=1e-12)


def test_what_a_reader_must_know_of_corruptions(
    corrupted: tuple[Results, list[tuple[int, str, int]]],
) -> None:
    results, _ = corrupted
    notes = " ".join(results.notes)
    assert "procedural texture" in notes
    assert "Corruptions were measured on 20 of the 30 test pictures." in notes


def test_published_files_are_named(
    coloured: str, tinted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Files that hold the pictures themselves: accuracy under them is clean accuracy."""
    files = tmp_path / "C"
    files.mkdir()
    with np.load(coloured.removeprefix("npz:")) as arrays:
        images, labels = arrays["test_images"], arrays["test_labels"]
    np.save(files / "fog.npy", np.concatenate([images] * 5))
    np.save(files / "labels.npy", np.concatenate([labels] * 5))
    words = (
        *replaced(COLOUR, "--data", coloured),
        "--corruptions",
        "fog",
        "--severities",
        "5",
        "2",
    )
    results = evaluated(tinted[0], *words, "--corruption-files", files, out=tmp_path / "e")
    found = list(results.select("corruption accuracy"))
    assert [m.setting["severity"] for m in found] == [2, 5]
    assert {m.value for m in found} == {results.one("clean accuracy").value}
    assert all(m.setting["source"] == "published" and "seed" not in m.setting for m in found)
    assert any(str(files) in note for note in results.notes)
    assert not any("procedural" in note for note in results.notes)


FOUND = Finding("zero gradients", "serious", "Gradients vanish.", "robust", {"share": 0.5})


def test_findings_are_said_before_the_attack(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = []

    def preflight(model: object, split: Split, threat: object, **more: Any) -> list[Finding]:
        asked.append((len(split), more["pictures"], more["subject"], list(more["transfer"])))
        return [FOUND]

    monkeypatch.setattr(evaluate, "preflight", preflight)
    words = replaced(QUICK, "--preflight-pictures", "32")
    results = evaluated(robust, robust, *words, "--limit", "50", out=tmp_path / "e")
    again = str(robust)
    assert asked == [(50, 32, "robust", [again]), (50, 32, again, ["robust"])]
    few, *others = results.findings
    assert (few.check, few.evidence["n"]) == ("few examples", 50) and others == [FOUND, FOUND]
    assert results.facts["preflight"] == 32
    said = " ".join(capsys.readouterr().err.split())
    assert said.index("serious: robust: Gradients vanish.") < said.index("robust: PGD-2")


def test_a_network_from_python_in_train_mode_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "preflight", lambda *args, **more: [])
    asked: dict[str, Any] = {"data": "digits", "curve_pictures": 0, "limit": 20, "device": "cpu"}
    for training in (True, False):
        model = Architecture("small_resnet", 10, 1, "none").build().train(training)
        found = package.evaluate(**asked, model=model, steps=1, out=tmp_path / str(training))
        assert ("train mode" in {one.check for one in found.findings}) is training


def test_the_share_of_a_process_and_back() -> None:
    whole = torch.arange(22).view(2, 11)
    for world in (1, 2, 3):
        parts = [whole[:, rank::world] for rank in range(world)]
        assert torch.equal(shards.interleaved(parts), whole)


def test_steps_of_processes_become_steps_of_the_whole(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    for rank in range(2):
        part = steps.within(f"shard-{rank}-of-2")
        part.keep_tensors("0 PGD", {"verdicts": torch.arange(10).view(2, 5)[:, rank::2]})
        part.within("unfinished").keep_tensors("0 PGD", {"at": torch.tensor([rank, 3])})
    shards.join(steps, 2)
    found = steps.tensors("0 PGD")
    assert found is not None and torch.equal(found["verdicts"], torch.arange(10).view(2, 5))
    assert steps.names() == ["0_PGD"]


def test_a_step_that_a_process_lacks_is_not_passed_over(tmp_path: Path) -> None:
    for lacking in range(2):
        steps = Steps(tmp_path / str(lacking))
        steps.within(f"shard-{1 - lacking}-of-2").keep_tensors("0 PGD", {"by": torch.arange(5)})
        with pytest.raises(AssertionError, match="has not kept 0_PGD"):
            shards.join(steps, 2)
        assert steps.names() == []


def test_a_network_chosen_on_this_test_split_is_marked(better: Path, tmp_path: Path) -> None:
    results = evaluated(better, *QUICK, "--limit", "20", out=tmp_path / "e")
    assert not any("flattered" in note for note in results.notes), "better was chosen on val"


def test_a_network_may_be_given_three_times(robust: Path, tmp_path: Path) -> None:
    words = (*replaced(QUICK, "--curve-pictures", "0"), "--limit", "20")
    results = evaluated(*[robust] * 3, *words, out=tmp_path / "e")
    expected = ["robust", str(robust), f"{robust} (2)"]
    assert [m.subject for m in results.select("clean accuracy")] == expected


class Stopped(KeyboardInterrupt):
    """In the middle of a run."""


def stopping(patch: pytest.MonkeyPatch, moment: int) -> None:
    """The run stops after it has kept something for the n-th time."""
    kept = 0

    def hooked(name: str) -> None:
        usual = getattr(Steps, name)

        def keep(self: Steps, *args: Any) -> None:
            nonlocal kept
            usual(self, *args)
            kept += 1
            if kept == moment:
                raise Stopped

        patch.setattr(Steps, name, keep)

    hooked("keep_tensors")
    hooked("keep_json")


def outcome(results: Results) -> tuple[Any, ...]:
    artifacts = [(a.kind, a.path, a.sha256) for a in results.artifacts if a.kind != "figure"]
    return timeless(results), artifacts, results.notes, results.findings


@pytest.fixture
def everything(coloured: str, tinted: tuple[Path, Path]) -> tuple[object, ...]:
    """Words that ask for a little of everything."""
    return (
        *(*tinted, *replaced(COLOUR, "--data", coloured), "--attack", "pgd", "square"),
        *("--batch-size", "8"),
        *("--corruptions", "contrast", "gaussian_noise", "--severities", "1", "5"),
    )


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Square's 5000 queries would be most of these tests."""
    monkeypatch.setattr(protocols, "Square", lambda threat: Square(threat, queries=10))
    return


def test_a_stopped_run_ends_as_one_that_was_not(
    everything: tuple[object, ...], tmp_path: Path
) -> None:
    whole = outcome(evaluated(*everything, out=tmp_path / "whole"))
    for moment in (3, 20):
        assert stopped_and_resumed(everything, moment, tmp_path / str(moment)) == whole


@pytest.mark.slow
def test_whatever_the_moment(everything: tuple[object, ...], tmp_path: Path) -> None:
    whole = outcome(evaluated(*everything, out=tmp_path / "whole"))
    moments = 0
    while (found := stopped_and_resumed(everything, moments + 1, tmp_path / str(moments))) == whole:
        moments += 1
    assert found is None and moments > 20, "the last was past the end of the run"


def stopped_and_resumed(words: tuple[object, ...], moment: int, out: Path) -> Any:
    """The outcome of a run that was stopped and went on; None where nothing stopped it."""
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, moment)
        code = hardy("evaluate", *words, "--out", out)
    if code == 0:
        return None
    assert code == 130 and not (out / "results.json").exists()
    return outcome(evaluated(*words, "--resume", out=out))


def test_what_was_finished_is_not_done_again(
    everything: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outcome(evaluated(*everything, out=tmp_path / "e"))
    monkeypatch.setattr(measuring.Job, "corrupt", never_again(1))
    monkeypatch.setattr(tallies, "judge", never_again(0))
    monkeypatch.setattr(tallies, "standing_at", never_again(0))
    assert outcome(evaluated(*everything, "--resume", out=tmp_path / "e")) == before


def never_again(pictures: int) -> Callable[..., Any]:
    def called(*args: Any, **more: Any) -> Any:
        split = next(arg for arg in args if isinstance(arg, Split))
        assert len(split) <= pictures, "only a look at whether it can be done"
        return split

    return called


@pytest.mark.slow
def test_two_processes_find_what_one_does(
    everything: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*replaced(everything, "--attack", "pgd", "apgd-ce"), "--limit", "25")  # type: ignore[arg-type]
    one = evaluated(*words, out=tmp_path / "one")
    words = (*words, "--devices", "2")
    # Stopped while it joins what the two have found: they are asked once more, and have it all.
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 3)
        assert hardy("evaluate", *words, "--out", tmp_path / "two") == 130
    two = evaluated(*words, "--resume", out=tmp_path / "two")
    assert outcome(two) == outcome(one)
    assert two.facts["devices"] == "2 processes on cpu" and "devices" not in one.facts
    kept = Steps(tmp_path / "two" / "steps" / "shard-1-of-2").tensors("0 classes")
    assert kept is not None and kept["value"].shape == (2, 12)
    # After a stop between the processes and the end they are not started again.
    (tmp_path / "two" / "results.json").unlink()
    monkeypatch.setattr(shards, "in_processes", None)
    assert outcome(evaluated(*words, "--resume", out=tmp_path / "two")) == outcome(one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--attack",), "--attack"),
        (("--attack", "pdg"), "pdg"),
        (("--severities", "0"), "--severities must be whole numbers from 1 to 5"),
        (("--severities", "6", "--corruptions", "fog"), "from 1 to 5"),
        (("--corruptions", "mist"), "no corruption 'mist'"),
        (("--corruptions", "standard"), "takes pictures from"),
        (("--corruptions", "fog", "snow", "contrast"), "; possible are --corruptions fog contrast"),
        (("--corruption-files", "absent"), "needs --corruptions"),
        (("--corruption-pictures", "0"), "--corruption-pictures must be at least 1"),
        (("--curve-points", "1"), "--curve-points must be at least 2"),
        (("--curve-pictures", "-1"), "--curve-pictures must be at least 0"),
        (("--preflight-pictures", "-1"), "--preflight-pictures must be at least 0"),
        (("--reference",), "--reference goes with --attack autoattack"),
        (("--over-seeds",), "--over-seeds needs several networks"),
        (("--devices", "0"), "--devices must be at least 1"),
        (("--devices", "30", "--limit", "20"), "--devices 30 cannot share 20 pictures"),
        (("--corruptions", "contrast", "--corruption-files", "absent"), "absent"),
        (("--equal-clean",), "--equal-clean compares networks and needs at least two: give them"),
        (("--equal-clean-epochs", "0"), "--equal-clean-epochs must be at least 1"),
        (("--equal-clean-pictures", "0"), "--equal-clean-pictures must be at least 1"),
        (("--equal-clean-lr", "0"), "--equal-clean-lr must be positive, such as 0.01"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    words: tuple[str, ...],
    said: str,
    robust: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert hardy("evaluate", robust, *SMALL, *words, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hardy: ") and said in line
    assert not (tmp_path / "out").exists()


def test_the_reference_must_be_installed(
    robust: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    words = ("--attack", "autoattack", "--reference", "--out", tmp_path / "out")
    capsys.readouterr()
    assert hardy("evaluate", robust, *SMALL, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'hardy[reference]'" in line


def test_torchrun_is_not_needed(
    robust: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    capsys.readouterr()
    assert hardy("evaluate", robust, *SMALL, "--devices", "2", "--out", tmp_path / "out") == 2
    assert "starts its processes itself" in capsys.readouterr().err


@pytest.mark.slow
def test_the_reference_stands_beside_our_own(robust: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyautoattack")
    words = (*QUICK, "--limit", "40", "--curve-pictures", "0", "--attack", "autoattack-quick")
    whole = evaluated(robust, *words, "--reference", out=tmp_path / "e")
    theirs, ours = whole.one("robust accuracy (reference)"), whole.one("robust accuracy")
    assert str(theirs.setting["package"]).startswith("pyautoattack ")
    assert theirs.setting.items() >= ours.setting.items() and theirs.n == 40
    assert abs(theirs.value - ours.value) <= 3 / 40
    out = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 8)
        assert hardy("evaluate", robust, *words, "--reference", "--out", out) == 130
    again = evaluated(robust, *words, "--reference", "--resume", out=out)
    assert outcome(again) == outcome(whole)


SIZES = ("parameters", "weights", "operations")


def test_size_and_operations_are_measured_of_every_network(twice: Results, robust: Path) -> None:
    # 77,754 parameters; as many running statistics as BatchNorm has weights, and its counters.
    model = package.load(robust)
    buffers = dict(model.named_buffers())
    numbers = 77_754 + sum(v.numel() for k, v in buffers.items() if "running" in k)
    counters = sum("num_batches" in k for k in buffers)
    for subject in by_subject(twice, "clean accuracy"):
        found = {m.quantity: m for m in twice.measurements if m.subject == subject}
        assert found["parameters"].value == 77_754
        assert found["weights"].value == 4 * numbers + 8 * counters
        assert found["operations"].setting == {"image_size": "1×8×8"}
        assert {found[name].no_interval for name in SIZES} == {"counted"}
    assert len({m.value for m in twice.select("operations")}) == 1, "of one architecture"
    assert not list(twice.select("latency")), "no two runs would be the same"


def test_latency_is_measured_once_and_kept(robust: Path, tmp_path: Path) -> None:
    words = (robust, *replaced(QUICK, "--curve-pictures", "0"), "--limit", "20", "--latency")
    first = evaluated(*words, out=tmp_path / "e")
    one, batch = first.select("latency", subject="robust")
    assert (one.n, batch.n) == (1, 20), "no more than there are"
    assert one.value > 0 and one.setting["device"] == "cpu"
    again = evaluated(*words, "--resume", out=tmp_path / "e")
    assert again.measurements == first.measurements
