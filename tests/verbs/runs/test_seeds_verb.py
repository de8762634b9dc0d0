"""--seeds: a run a seed, each as if it were alone, and their mean and spread in one place."""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_resume import stop_at
from verb_runs import SMALL, TRAIN, arguments, assert_same, hardy, replaced, timeless, weights

import hardy as package
from hardy import config
from hardy.evaluation.results import Artifact, Finding, Measurement, Results, read
from hardy.models.load import load, seeds_in
from hardy.verbs.runs.joined import joined
from hardy.verbs.runs.seeds import of_seed

TINY = replaced(TRAIN, "--epochs", "2")
TINY = replaced(replaced(TINY, "--limit", "128"), "--test-limit", "60")
EVALUATE = ("--limit", "40", "--curve-pictures", "0", "--preflight-pictures", "0")
T1 = 12.706204736432095  # 97.5 % of Student's t with one degree of freedom


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of the seeds 3 and 1."""
    folder = tmp_path_factory.mktemp("several") / "at"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        assert hardy(*TINY, "--seeds", "3,1", "--out", folder) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert hardy(*words) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_each_run_is_that_of_its_seed_alone(several: Path, tmp_path: Path) -> None:
    assert hardy(*TINY, "--seed", "1", "--out", tmp_path / "one") == 0
    assert_same(weights(several / "seed-1"), weights(tmp_path / "one"))
    assert timeless(read(several / "seed-1")) == timeless(read(tmp_path / "one"))
    assert arguments(several / "seed-1") == arguments(tmp_path / "one")
    assert arguments(several)["seeds"] == [3, 1]


def test_mean_and_spread_by_hand(several: Path) -> None:
    results = read(several)
    runs = [read(several / name) for name in ("seed-3", "seed-1")]
    assert results.verb == "train" and results.facts["seeds"] == "3, 1"
    for of in ("clean accuracy", "robust accuracy"):
        a, b = (run.one(of, split="test", subject="pgd_at").value for run in runs)
        found = results.one("mean over seeds", of=of, subject="mean of 2 seeds: pgd_at")
        assert found.value == pytest.approx((a + b) / 2)
        assert found.setting["std"] == pytest.approx(statistics.stdev((a, b)))
        half = T1 * abs(a - b) / 2
        low, high = max(0.0, found.value - half), min(1.0, found.value + half)
        assert found.interval == pytest.approx((low, high))
        assert found.setting["networks"] == 2 and found.n == 60
        for seed, value in ((3, a), (1, b)):
            subject = f"seed {seed}: pgd_at"
            assert results.one(of, split="test", subject=subject).value == value


def test_the_epochs_of_every_run_stand_there_and_its_weights_are_noted(several: Path) -> None:
    results = read(several)
    for seed in (3, 1):
        own = [m for m in read(several / f"seed-{seed}").measurements if "epoch" in m.setting]
        copied = [replace(m, subject=f"seed {seed}: {m.subject}") for m in own]
        assert copied and all(m in results.measurements for m in copied)
    found = {a.path: a.sha256 for a in results.artifacts if a.kind == "weights"}
    for seed in (3, 1):
        (own,) = (
            a.sha256
            for a in read(several / f"seed-{seed}").artifacts
            if a.path == "best.safetensors"
        )
        assert found[f"seed-{seed}/best.safetensors"] == own


def test_a_finished_run_is_read_and_not_trained_again(
    several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(several)
    kept = {path: path.stat().st_mtime_ns for path in several.glob("seed-*/*.ckpt")}
    stop_at(monkeypatch, "hardy.training.loop.fit", 1)
    assert hardy(*TINY, "--seeds", "3,1", "--out", several, "--resume") == 0
    assert read(several).measurements == before.measurements
    assert len(kept) == 2 and all(path.stat().st_mtime_ns == at for path, at in kept.items())


@pytest.mark.parametrize(
    ("where", "call", "trained"),
    [
        ("hardy.verbs.runs.seeds.say", 2, 1),  # between the two
        ("hardy.training.checkpoint.save", 4, 1),  # in the second, which has one epoch of two
        ("hardy.verbs.runs.seeds.joined", 1, 0),  # both are finished
    ],
)
def test_a_stopped_run_goes_on_where_it_was(
    where: str,
    call: int,
    trained: int,
    several: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, where, call)
        assert hardy(*TINY, "--seeds", "3,1", "--out", out) == 130
    assert "the same flags with --resume and its --out" in capsys.readouterr().err
    assert not (out / "results.json").exists() and (out / "seed-3" / "results.json").exists()
    calls = []
    fit = __import__("hardy.training.loop", fromlist=["fit"]).fit

    def counted(*args: Any, **more: Any) -> Any:
        calls.append(more["resume"])
        return fit(*args, **more)

    monkeypatch.setattr("hardy.training.loop.fit", counted)
    assert hardy(*TINY, "--seeds", "3,1", "--out", out, "--resume") == 0
    assert len(calls) == trained
    if call == 4:
        assert calls[0]["epoch"] == 1, "gone on with, not begun anew"
    assert timeless(read(out)) == timeless(read(several))
    for seed in (3, 1):
        assert_same(weights(out / f"seed-{seed}"), weights(several / f"seed-{seed}"))


def test_what_was_asked_for_differently_is_no_part_of_it(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(several, out)
    path = out / "seed-1" / "config.json"
    content = {**json.loads(path.read_text()), "out": str(out / "seed-1"), "lr": 0.5}
    path.write_text(json.dumps(content))
    words = (*TINY, "--out", out, "--resume", "--seeds")
    assert f"{out / 'seed-1'} was started with --lr 0.5" in refused(capsys, *words, "3,1")
    assert "--seeds [3, 1], not [3, 1, 2]" in refused(capsys, *words, "3,1,2")
    assert (out / "config.json").is_file()


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("1,1,2", "--seeds has 1 twice: give each seed once"),
        ("4", "--seeds needs several, such as 0,1,2: for a single one there is --seed"),
        ("0,-1", "--seeds must be whole numbers between 0 and 2**63 - 1, not -1"),
        ("0,x", "'x' is no whole number"),
    ],
)
def test_seeds_that_make_no_sense(
    seeds: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--out", tmp_path / "x", f"--seeds={seeds}")
    assert said in refused(capsys, *TINY, *words)
    assert not (tmp_path / "x").exists()


def test_what_python_may_not_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"data": "digits", "model": "small_resnet", "out": tmp_path / "x"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"seeds": "0,1"}, r"--seeds: give several in a tuple: seeds=\('0,1', …\)"),
        ({"seeds": 3}, "--seeds: give several in a tuple"),
        ({"seeds": (0, 0.5)}, "whole numbers .* not 0.5"),
        ({"seeds": (0, 1), "seed": 4}, "--seeds takes the place of --seed 4: give one of them"),
    ]
    for more, said in wrong:
        with pytest.raises(ValueError, match=said):
            package.train(**asked, **more)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ValueError, match="--seeds takes one process: leave torchrun out"):
        package.train(**asked, seeds=(0, 1))
    assert not (tmp_path / "x").exists()


def test_a_mistake_leaves_the_folder_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the same folder may be given again."""
    out = tmp_path / "x"
    words = (*replaced(TINY, "--lr", "-1"), "--seeds", "0,1", "--out", out)
    assert "--lr must be positive" in refused(capsys, *words)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "is not empty" in refused(capsys, *words)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_dry_run_costs_one_run_for_each_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = package.train(
        data="digits", model="small_resnet", epochs=1, limit=64, steps=1, batch_size=32,
        device="cpu", seeds=(0, 1, 2), dry_run=True, out=tmp_path / "x",
    )  # fmt: skip
    one = results.one("seconds", subject="run").value
    whole = results.one("seconds", subject="3 seeds")
    assert whole.value == pytest.approx(3 * one) and "3 times" in whole.no_interval
    assert results.folder is None and not (tmp_path / "x").exists()


def test_the_seed_in_the_name_of_a_file(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = several / "seed-{seed}"
    words = ("evaluate", template, *SMALL, *EVALUATE, "--out")
    assert hardy(*words, tmp_path / "two", "--seeds", "1,3") == 0
    results = read(tmp_path / "two")
    for seed in (1, 3):
        own = read(tmp_path / "two" / f"seed-{seed}")
        assert own.one("clean accuracy").subject == f"at/seed-{seed}"
        value = results.one("clean accuracy", subject=f"seed {seed}: at").value
        assert value == own.one("clean accuracy").value
        path = several / f"seed-{seed}"
        assert arguments(tmp_path / "two" / f"seed-{seed}")["checkpoints"] == [str(path)]
    (mean,) = results.select("mean over seeds", of="robust accuracy")
    assert mean.subject == "mean of 2 seeds: at" and mean.setting["seed"] == "1, 3"
    assert results.one("parameters").subject == "at", "the same in both"

    # Of a single run it is the seed too.
    assert hardy(*words, tmp_path / "one", "--seed", "3") == 0
    assert timeless(read(tmp_path / "one")) == timeless(read(tmp_path / "two" / "seed-3"))

    line = refused(capsys, *words, tmp_path / "x", "--seeds", "1,3,5")
    assert f"--checkpoints {template}: there is no {several / 'seed-5'}, of seed 5" in line
    assert not (tmp_path / "x").exists()


def test_names_are_filled_in_wherever_files_are_named() -> None:
    asked = config.Train(
        checkpoint=Path("at-{seed}.pt"),
        extra_data="npz:more-{seed}.npz",
        teacher=("robust=at/seed-{seed}", "natural=plain.pt"),
        method="at-{seed}",
        seeds=(4, 5),
    )
    one = of_seed(asked, 5)
    assert (one.checkpoint, one.extra_data) == (Path("at-5.pt"), "npz:more-5.npz")
    assert one.teacher == ("robust=at/seed-5", "natural=plain.pt")
    assert (one.seed, one.seeds, one.method) == (5, None, "at-{seed}")
    given = replace(asked, teacher={"robust": "at/seed-{seed}"})
    assert of_seed(given, 4).teacher == {"robust": "at/seed-4"}


def test_mrc_and_rift_repeat_too(several: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {
        "data": "digits", "val_fraction": 0.2, "eps": 0.1, "steps": 1, "restarts": 1,
        "device": "cpu", "mrc_pictures": 16, "limit": 64,
    }  # fmt: skip
    found = package.mrc(**few, checkpoint=several / "seed-1", seeds=(0, 1), out=tmp_path / "mrc")
    a, b = (read(tmp_path / "mrc" / f"seed-{seed}").one("mrc", subject="linear") for seed in (0, 1))
    mean = found.one("mean over seeds", of="mrc", subject="mean of 2 seeds: linear")
    assert mean.value == pytest.approx((a.value + b.value) / 2)
    more: dict[str, Any] = {"epochs": 1, "alphas": (1.0,), "choose_pictures": 30, "test_limit": 30}
    found = package.rift(
        **few, **more, checkpoint=several / "seed-{seed}", seeds=(1, 3), bn_only=False,
        out=tmp_path / "rift",
    )  # fmt: skip
    gains = [
        read(tmp_path / "rift" / f"seed-{seed}").one("clean accuracy gain").value for seed in (1, 3)
    ]
    mean = found.one("mean over seeds", of="clean accuracy gain")
    assert mean.value == pytest.approx(statistics.fmean(gains), abs=1e-12)


def test_where_one_network_is_due_the_error_names_the_runs(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [path.name for path in seeds_in(several)] == ["seed-1", "seed-3"]
    line = refused(capsys, "mrc", "--checkpoint", several, *SMALL)
    said = f"{several} holds a run of several seeds: give one of seed-1, seed-3 in it, or "
    assert said + str(several / "seed-{seed}") + " with --seeds" in line
    with pytest.raises(ValueError, match="run of several seeds"):
        load(several)
    assert seeds_in(several / "seed-1") == []


def test_evaluate_takes_all_the_networks_of_a_run_of_several_seeds(
    several: Path, tmp_path: Path
) -> None:
    words = ("evaluate", several, several / "seed-1", *SMALL, *EVALUATE)
    assert hardy(*words, "--out", tmp_path / "e") == 0
    results = read(tmp_path / "e")
    assert [m.subject for m in results.select("clean accuracy")] == [
        "at/seed-1",
        "at/seed-3",
        str(several / "seed-1"),
    ]
    first = [m.value for m in results.select("robust accuracy")][:2]
    mean = results.one("mean over seeds", of="robust accuracy")
    assert mean.subject == "mean of 2 networks: at" and mean.setting["seed"] == 0
    assert mean.value == pytest.approx(statistics.fmean(first))


def test_a_resumed_evaluation_has_the_networks_that_it_had(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(several, tmp_path / "at")
    words = ("evaluate", tmp_path / "at", *SMALL, *EVALUATE, "--out", tmp_path / "e")
    assert hardy(*words) == 0
    shutil.rmtree(tmp_path / "at" / "seed-3")
    said = "was started with weights in at/seed-3, which is gone: give the same"
    assert said in refused(capsys, *words, "--resume")


def test_what_all_say_stands_once_and_the_rest_under_its_seed(tmp_path: Path) -> None:
    def run(seed: int, **facts: Any) -> Results:
        one = Measurement("clean accuracy", 0.5, "test", 10, f"at/seed-{seed}", (0.4, 0.6))
        return Results(
            "evaluate",
            {"data": "digits", "alpha": seed / 10, **facts},
            ["All say so.", f"at/seed-{seed}: of a network.", f"Lost {seed}."],
            [one],
            [Artifact("best.safetensors", "weights", "0" * 64), Artifact("a.svg", "figure", "")],
            [
                Finding("few examples", "serious", "So few."),
                Finding("margins", "mild", f"By {seed}.", f"at/seed-{seed}"),
            ],
        )

    runs = {1: run(1), 10: run(10, odd=True)}
    found = joined(Results("evaluate", folder=tmp_path), runs, {"seed-{seed}"})
    assert found.facts == {
        "seeds": "1, 10",
        "data": "digits",
        "alpha by seed": "0.1 / 1",
        "odd by seed": "– / True",
    }
    assert found.notes[1:] == [
        "All say so.",
        "at: of a network.",
        "Seed 1: Lost 1.",
        "Seed 10: Lost 10.",
    ]
    assert [(f.subject, f.sentence) for f in found.findings] == [
        ("", "So few."),
        ("seed 1: at", "By 1."),
        ("seed 10: at", "By 10."),
    ]
    assert [a.path for a in found.artifacts] == [
        "seed-1/best.safetensors",
        "seed-10/best.safetensors",
    ]
    assert [m.subject for m in found.measurements] == [
        "mean of 2 seeds: at",
        "seed 1: at",
        "seed 10: at",
    ]


def test_folders_that_are_bare_numbers_rename_networks_and_nothing_else(tmp_path: Path) -> None:
    """runs/at/0 and runs/at/1: a network is called 0, and so are many other things."""
    runs = {}
    for seed in (0, 1):
        right = Measurement("clean accuracy", 0.5, "test", 10, str(seed), (0.4, 0.6))
        module = Measurement("mrc", 1.0, "train", 10, "layer1.0.conv1", no_interval="a maximum")
        facts = {"threat": "Linf(eps=0.1)"}
        runs[seed] = Results("mrc", facts, ["0 of 10 and 1 of 10."], [right, module])
    found = joined(Results("mrc", folder=tmp_path), runs, {"{seed}"})
    assert found.facts["threat"] == "Linf(eps=0.1)"
    assert "0 of 10 and 1 of 10." in found.notes
    assert found.one("mrc").subject == "layer1.0.conv1"
    assert found.one("mean over seeds").subject == "mean of 2 seeds: {seed}"


def test_a_teacher_of_all_seeds_is_measured_once(tmp_path: Path) -> None:
    """It is one network on the same pictures: no sample of several, and no spread of zero."""
    runs = {}
    for seed, fooled in ((0, 0.1), (1, 0.4)):
        setting = {"attack": "PGD", "norm": "linf", "eps": 0.1, "dtype": "fp32", "teacher": True}
        setting["seed"] = seed
        robust = Measurement(
            "robust accuracy", 0.5, "test", 40, "teacher", (0.35, 0.65), setting=setting
        )
        by = Measurement("teacher fooled", fooled, "test", 40, "teacher", (0, 1), setting=setting)
        runs[seed] = Results("train", measurements=[robust, by])
    found = joined(Results("train", folder=tmp_path), runs, ())
    (robust,) = found.select("robust accuracy")
    assert (robust.subject, robust.interval) == ("teacher", (0.35, 0.65))
    (fooled,) = found.select("mean over seeds")
    assert fooled.value == 0.25 and fooled.interval == (0.0, 1.0), "a share has no more room"
