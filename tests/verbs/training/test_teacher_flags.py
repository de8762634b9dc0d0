"""Distillation by flags: which teachers are taken, what is refused, what is measured of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from verb_runs import TRAIN, hardy, replaced, rows, weights

import hardy as package
from hardy import load
from hardy.evaluation.results import read
from hardy.evaluation.teachers import FOOLED
from hardy.models.architecture import Architecture
from hardy.models.load import save

STUDENT = replaced(TRAIN, "--epochs", "1")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refuse(*words: object) -> str:
        capsys.readouterr()
        assert hardy(*STUDENT, *words, "--out", tmp_path / "none") == 2
        assert not (tmp_path / "none").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refuse


def saved(path: Path, classes: int, names: list[str] | None = None) -> Path:
    spec = Architecture("small_resnet", classes, 1, "none")
    save(
        path, spec.build(), spec, classes=names or [f"class {i}" for i in range(classes)], extra={}
    )
    return path


def test_a_run_with_a_teacher(robust: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "student"
    words = (*STUDENT, "--method", "rslad", "--teacher", robust, "--teacher-pictures", 60)
    assert hardy(*words, "--out", out) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "teacher robust: clean accuracy" in said and "% of 60 of val" in said
    results = read(out)
    assert str(results.facts["teacher"]).startswith("robust: small_resnet ")
    of = {m.quantity: m for m in results.measurements if m.subject == "teacher robust"}
    sized = {"parameters", "weights", "operations"}
    assert set(of) == {"clean accuracy", "robust accuracy", FOOLED, *sized}
    both = [m.subject for m in results.select("parameters")]
    assert both == ["teacher robust", "rslad"], "so that the page says student ÷ teacher"
    assert of["clean accuracy"].split == "test" and of["clean accuracy"].n == 60
    assert set(rows(out)[0]) >= {"robust_kl", "natural_kl"}


def test_the_teacher_is_what_is_learnt_from(robust: Path, tmp_path: Path) -> None:
    """Without augmentation and with it; the teacher's file stays as it is."""
    before = (robust / "best.safetensors").read_bytes()
    other = saved(tmp_path / "other.safetensors", 10, [str(i) for i in range(10)])
    for name, teacher in (("one", robust), ("two", other)):
        words = (*STUDENT, "--method", "adaad", "--teacher", teacher, "--augment", "none")
        assert hardy(*words, "--teacher-pictures", 0, "--out", tmp_path / name) == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert any(not torch.equal(one[key], two[key]) for key in one)
    assert (robust / "best.safetensors").read_bytes() == before
    assert not any(m.subject.startswith("teacher") for m in read(tmp_path / "one").measurements)


def test_logits_from_the_table_are_those_of_each_batch(robust: Path, tmp_path: Path) -> None:
    """A teacher that is asked about clean pictures alone: the table gives the same run as asking
    anew, up to the rounding of another batch."""
    runs = {}
    for name in ("table", "anew"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "anew":
                patch.setattr("hardy.methods.teacher.Teacher.remember", lambda *_: None)
            words = (*STUDENT, "--method", "ard", "--teacher", robust, "--augment", "none")
            assert hardy(*words, "--teacher-pictures", 0, "--out", tmp_path / name) == 0
        runs[name] = weights(tmp_path / name)
    for key, value in runs["table"].items():
        torch.testing.assert_close(value, runs["anew"][key], rtol=0, atol=2e-3)


def test_two_teachers_by_role_from_python(robust: Path, tmp_path: Path) -> None:
    module = load(robust)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    module.train()
    results = package.train(
        data="digits",
        model="small_resnet",
        method="iad",
        method_options=("labels=.25", "natural=.25", "target=adversarial", "weighted=true"),
        teacher={"robust": module, "natural": robust},
        eps=0.1,
        steps=1,
        epochs=1,
        limit=128,
        restarts=1,
        val_pictures=40,
        test_limit=40,
        teacher_pictures=40,
        device="cpu",
        out=tmp_path / "run",
    )
    assert {m.subject for m in results.measurements} >= {"teacher robust", "teacher natural"}
    assert module.training and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_a_naturally_trained_teacher_is_warned_of_and_stays_so(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    natural = tmp_path / "natural"
    words = (*replaced(TRAIN, "--limit", "1000"), "--method", "standard")
    assert hardy(*words, "--out", natural) == 0
    capsys.readouterr()
    out = tmp_path / "student"
    words = (*STUDENT, "--eps", "0.3", "--steps", "5", "--method", "ard", "--teacher", natural)
    assert hardy(*words, "--out", out) == 0
    assert "serious: teacher robust: The teacher is right on" in " ".join(
        capsys.readouterr().err.split()
    )
    (found,) = [each for each in read(out).findings if each.check == "natural teacher"]
    assert found.grade == "serious" and found.subject == "teacher robust"
    # Resumed, it is not measured on val again, and the warning is still there.
    monkeypatch.setattr("hardy.verbs.training.taught.natural", lambda *_: None)
    assert hardy(*words, "--out", out, "--resume") == 0
    assert found in read(out).findings


def test_a_teacher_that_knows_nothing_is_warned_of(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blank = saved(tmp_path / "blank.safetensors", 10, [str(i) for i in range(10)])
    words = (*STUDENT, "--method", "rslad", "--teacher", blank, "--out", tmp_path / "run")
    assert hardy(*words) == 0
    assert [each.check for each in read(tmp_path / "run").findings] == ["ignorant teacher"]


def test_one_teacher_from_python_needs_no_tuple(robust: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "data": "digits",
        "model": "small_resnet",
        "method": "adaad",
        "eps": 0.1,
        "steps": 1,
        "epochs": 1,
        "limit": 128,
        "restarts": 1,
        "val_pictures": 20,
        "test_limit": 20,
        "teacher_pictures": 0,
        "device": "cpu",
    }
    found = [
        package.train(**small, teacher=each, out=tmp_path / str(i)).facts["teacher"]
        for i, each in enumerate((robust, str(robust), load(robust)))
    ]
    assert str(found[0]) == str(found[1]), "by role, architecture and weights"
    assert str(found[2]).split()[-1] == str(found[0]).split()[-1]
    config = json.loads((tmp_path / "1" / "config.json").read_text(encoding="utf-8"))
    assert config["teacher"] == str(robust)
    with pytest.raises(ValueError, match="teacher robust: --teacher-normalize is for files"):
        package.train(**small, teacher=load(robust), teacher_normalize="cifar10")
    with pytest.raises(ValueError, match="leave --teacher-model out"):
        package.train(**small, teacher={"robust": load(robust)}, teacher_model="resnet18")


def test_what_cannot_teach_is_refused(refused: Callable[..., str], robust: Path) -> None:
    adaad = ("--method", "adaad")
    assert "the robust one is missing: give --teacher FILE" in refused(*adaad)
    line = refused("--method", "iad", "--method-options", "natural=.2", "--teacher", robust)
    assert "natural one is missing: give --teacher robust=FILE --teacher natural=FILE" in line
    line = refused("--method", "pgd_at", "--teacher", robust)
    assert "pgd_at has no robust teacher; it takes none: leave it out" in line
    line = refused(*adaad, "--teacher", f"rubost={robust}")
    assert "adaad has no rubost teacher; it takes robust" in line
    line = refused(*adaad, "--teacher", robust, "--teacher", robust)
    assert "--teacher: there are two for robust" in line
    for flag, value in (("model", "resnet18"), ("device", "cpu"), ("precision", "bf16")):
        assert "give --teacher too" in refused(f"--teacher-{flag}", value)
    line = refused(*adaad, "--teacher", robust, "--teacher-normalize", "rubost=cifar10")
    assert "--teacher-normalize: adaad has no rubost teacher; it takes robust" in line
    assert "teacher robust: " in refused(*adaad, "--teacher", robust / "nothing.pt")
    assert "no device 'moon'" in refused(*adaad, "--teacher", robust, "--teacher-device", "moon")


def test_other_classes_and_pictures_are_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    adaad = ("--method", "adaad", "--teacher")
    seven = saved(tmp_path / "seven.safetensors", 7)
    assert "teacher robust: the network tells 7 classes apart" in refused(*adaad, seven)
    renamed = saved(tmp_path / "renamed.safetensors", 10)
    assert "the order of the classes must be the same" in refused(*adaad, renamed)
    spec = Architecture("mnist_cnn", 10, 1, "none")
    large = tmp_path / "large.safetensors"
    save(large, spec.build(), spec, classes=[str(i) for i in range(10)], extra={})
    assert "mnist_cnn does not take the 8×8 pictures" in refused(*adaad, large)


def test_a_teacher_from_elsewhere_by_its_architecture(robust: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "teacher.pt"
    torch.save({"state_dict": load(robust).state_dict()}, foreign)
    words = (*STUDENT, "--method", "rslad", "--teacher", foreign, "--teacher-pictures", 20)
    more = ("--teacher-model", "small_resnet", "--teacher-normalize", "robust=none")
    assert hardy(*words, *more, "--out", tmp_path / "run") == 0
    assert any("may have seen the validation" in note for note in read(tmp_path / "run").notes)


def test_a_dry_run_counts_the_teacher(robust: Path, tmp_path: Path) -> None:
    """Two steps of AdaAD: forward and backward to the pictures in both nets twice, a training
    pass of the student and a last word of the teacher: 4 F + 3 F and 4 F + F, of equal nets."""
    base: dict[str, Any] = {
        "data": "digits",
        "model": "small_resnet",
        "eps": 0.1,
        "steps": 2,
        "epochs": 1,
        "limit": 128,
        "device": "cpu",
        "dry_run": True,
    }
    taught = package.train(**base, method="adaad", teacher=(robust,))
    alone = package.train(**base, method="pgd_at")
    (step,), (usual,) = (
        list(results.select("operations", subject="step")) for results in (taught, alone)
    )
    assert step.setting["forwards"] - usual.setting["forwards"] == pytest.approx(5.0, abs=1e-6)
    assert next(taught.select("memory", subject="teachers")).value > 300_000
    # Autograd keeps none of the teacher's weights beside those that stand there anyway.
    kept, alone_kept = (next(r.select("memory", subject="activations")) for r in (taught, alone))
    assert kept.value < 2.2 * alone_kept.value
    assert next(taught.select("seconds", subject="teachers")).value > 0
    assert not list(alone.select("seconds", subject="teachers"))
