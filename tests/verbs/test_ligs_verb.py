"""hardy ligs, and LIGS watched and regularised in hardy train, on digits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verb_runs import TRAIN, assert_same, hardy, replaced, rows, timeless, weights

from hardy import config, load
from hardy import ligs as ligs_of
from hardy.attacks.alignment import alignment
from hardy.data.load import load_data
from hardy.data.splits import limited
from hardy.draws import Draws
from hardy.evaluation.results import read
from hardy.losses import cross_entropy
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.verbs import ligs as verb
from hardy.verbs.asked.inputs import DATA_SEED
from hardy.verbs.training.job import job_of

DIGITS = ("--data", "digits", "--val-fraction", "0.2", "--device", "cpu", "--batch-size", "32")
FEW = ("--epochs", "2", "--limit", "128", "--ligs-pictures", "40")
WATCHED = replaced(replaced((*TRAIN, *FEW[4:]), *FEW[:2]), *FEW[2:4])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs on few pictures, watched."""
    folder = tmp_path_factory.mktemp("runs") / "watched"
    assert hardy(*WATCHED, "--method", "standard", "--out", folder) == 0
    return folder


def test_two_networks_on_the_same_pictures(
    robust: Path, watched: Path, tmp_path: Path, drawn: None
) -> None:
    out = tmp_path / "out"
    words = ("--limit", "60", "--draws", "2", "--sigma", "0.05")
    assert hardy("ligs", robust, watched, *DIGITS, *words, "--out", out) == 0
    results = read(out)
    test = limited(load_data("digits", val_fraction=0.2, seed=DATA_SEED).test, 60, DATA_SEED)
    with np.load(out / "ligs.npz", allow_pickle=False) as held:
        kept = {name: held[name] for name in held.files}
    np.testing.assert_array_equal(kept["index"], test.index)
    x, y, draws = test.pixels(slice(None)), test.labels, Draws(0, 0, test.index)
    by_hand = []
    for label, folder in (("robust", robust), ("watched", watched)):
        net = load(folder).double()
        cosines = torch.stack(
            [
                alignment(
                    net,
                    x.double(),
                    0.05 * draws.normal(x.shape[1:], f"ligs/{number}").double(),
                    y,
                    cross_entropy,
                )
                for number in range(2)
            ]
        )
        # In single precision a ReLU near zero may open on the other side.
        apart = np.abs(kept[f"{label}/cosines"] - cosines.numpy())
        assert np.median(apart) < 1e-4 and (apart > 1e-2).mean() < 0.05
        m = results.one("ligs", subject=label)
        own = kept[f"{label}/cosines"].astype(float).mean(0)
        assert m.value == pytest.approx(own.mean(), abs=1e-6) and m.n == 60
        half = 1.959963984540054 * own.std(ddof=1) / math.sqrt(60)
        assert m.interval == pytest.approx((own.mean() - half, own.mean() + half), abs=1e-5)
        assert m.setting == {
            "v": "gaussian",
            "sigma": 0.05,
            "loss": "ce",
            "draws": 2,
            "seed": 0,
            "dtype": "fp32",
            "dropped": 0.0,
        }
        classes = list(results.select("class ligs", subject=label))
        assert sum(one.n for one in classes) == 60 and len(classes) == 10
        by_hand.append(own)
    (gain,) = results.select("ligs gain")
    assert gain.subject == "watched − robust"
    assert gain.value == pytest.approx((by_hand[1] - by_hand[0]).mean(), abs=1e-6)
    assert {a.kind for a in results.artifacts} == {"ligs values", "figure"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="ligs"' in page and "no proof of robustness" in page
    assert (out / "figures" / "ligs.png").is_file()


def test_killed_between_two_networks_it_goes_on_the_same(
    robust: Path, watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("ligs", robust, watched, *DIGITS, "--limit", "40", "--draws", "2")
    assert hardy(*words, "--out", tmp_path / "whole") == 0
    usual, calls = verb.measure, []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return usual(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(verb, "measure", stopping)
        assert hardy(*words, "--out", tmp_path / "cut") == 130
    assert not (tmp_path / "cut" / "results.json").exists()
    with monkeypatch.context() as patch:  # what is finished is not computed again
        patch.setattr("hardy.diagnosis.ligs.alignment", _of_the_second(2 * 2))
        assert hardy(*words, "--out", tmp_path / "cut", "--resume") == 0
    assert timeless(read(tmp_path / "cut")) == timeless(read(tmp_path / "whole"))
    one, other = (np.load(tmp_path / name / "ligs.npz") for name in ("cut", "whole"))
    assert all(np.array_equal(one[name], other[name]) for name in other.files)


def _of_the_second(batches: int) -> Any:
    """`alignment`, which may be called so often."""
    left = iter(range(batches))

    def called(*args: Any, **kwargs: Any) -> Any:
        assert next(left, None) is not None, "no picture of the first network again"
        return alignment(*args, **kwargs)

    return called


def test_adversarial_v_and_the_margin_from_python(robust: Path, tmp_path: Path) -> None:
    asked = {"data": "digits", "val_fraction": 0.2, "device": "cpu", "limit": 30}
    near, far = (
        ligs_of(checkpoints=(robust,), v="adversarial", eps=eps, steps=2, loss="margin",
                out=tmp_path / str(eps), **asked)
        for eps in (1e-6, 0.3)
    )  # fmt: skip
    assert near.one("ligs").value > 0.99 > 0.9 > far.one("ligs").value
    setting = far.one("ligs").setting
    assert (setting["v"], setting["attack"], setting["eps"]) == ("adversarial", "PGD", 0.3)
    assert setting["loss"] == "margin" and "sigma" not in setting


def test_a_network_without_gradients_is_said_and_the_others_measured(
    robust: Path, tmp_path: Path, drawn: None
) -> None:
    net = load(robust)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim == 4 and "conv1" in name:
                parameter.zero_()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.zero_()  # type: ignore[union-attr]
            torch.nn.init.constant_(module.bias, -1)
    asked = {"data": "digits", "val_fraction": 0.2, "device": "cpu", "limit": 30}
    results = ligs_of(model=net, out=tmp_path / "out", **asked)
    assert not list(results.select("ligs"))
    assert any("has no LIGS: the gradient of its loss is zero" in note for note in results.notes)
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--v", "adversarial", "--sigma", "0.1"), "--sigma is for gaussian and uniform v"),
        (("--sigma", "0"), "--sigma"),
        (("--draws", "0"), "--draws must be at least 1"),
        (("--v", "cauchy"), "--v"),
        (("--loss", "mse"), "--loss"),
        (("--checkpoint", "elsewhere"), "not both"),
    ],
)
def test_mistakes_leave_no_file(
    words: tuple[str, ...], said: str, robust: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert hardy("ligs", robust, *DIGITS, *words, "--out", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not out.exists()


def test_nothing_given_is_a_mistake(tmp_path: Path, capsys: Any) -> None:
    assert hardy("ligs", *DIGITS, "--out", tmp_path / "out") == 2
    assert "give run folders or checkpoints" in capsys.readouterr().err


# In training


def test_ligs_is_watched_after_each_epoch(watched: Path) -> None:
    """The last epoch's number is that of the network that was saved, whichever was kept."""
    results, logged = read(watched), rows(watched)
    found = list(results.select("ligs"))
    assert [m.setting["epoch"] for m in found] == [1, 2]
    assert [m.value for m in found] == [row["watched"]["ligs"] for row in logged]
    assert all(m.split == "val" and m.n == 40 and m.subject == "standard" for m in found)
    assert [m.setting.get("chosen", False) for m in found].count(True) == 1
    kept = next(m for m in found if m.setting.get("chosen"))
    val = limited(load_data("digits", val_fraction=0.2, seed=DATA_SEED).val, 40, DATA_SEED)
    x = val.pixels(slice(None))
    v = 0.01 * Draws(0, 0, val.index).normal(x.shape[1:], "ligs/0")
    again = alignment(load(watched), x, v, val.labels)
    assert kept.value == pytest.approx(again.mean().item(), abs=1e-5)
    page = (watched / "report.html").read_text(encoding="utf-8")
    assert 'id="watched"' in page and (watched / "figures" / "watched.svg").is_file()


def test_watching_changes_nothing_and_survives_a_kill(
    watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*WATCHED, "--method", "standard")
    bare = replaced(words, "--ligs-pictures", "0")
    assert hardy(*bare, "--out", tmp_path / "bare") == 0
    assert_same(weights(tmp_path / "bare"), weights(watched))
    assert "watched" not in rows(tmp_path / "bare")[0]
    _stop_after_first_epoch(monkeypatch)
    assert hardy(*words, "--out", tmp_path / "cut") == 130
    monkeypatch.undo()
    assert hardy(*words, "--out", tmp_path / "cut", "--resume") == 0
    assert rows(tmp_path / "cut") == rows(watched)
    assert timeless(read(tmp_path / "cut")) == timeless(read(watched))


def _stop_after_first_epoch(patch: pytest.MonkeyPatch) -> None:
    from hardy.training.loop import Loop

    usual: Callable[..., Any] = Loop.epoch

    def epoch(self: Loop, number: int) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return usual(self, number)

    patch.setattr(Loop, "epoch", epoch)


def test_the_regulariser_is_wrapped_by_its_weight_and_awp_is_outermost() -> None:
    def made(**more: Any) -> Any:
        asked = config.Train(data="digits", model="small_resnet", device="cpu", **more)
        job = job_of(asked)
        return job.method, job.subject

    plain, _ = made()
    assert not isinstance(plain, LIGSRegularised)
    method, subject = made(ligs_weight=2.0)
    assert method == LIGSRegularised(plain, weight=2.0, sigma=0.01) and subject == "pgd_at + LIGS"
    method, subject = made(ligs_weight=2.0, ligs_sigma=0.1, awp=0.01)
    assert method == AWP(LIGSRegularised(plain, 2.0, 0.1), 0.01)
    assert subject == "pgd_at + LIGS + AWP"


def test_a_regularised_run_logs_the_ligs_of_its_batches(tmp_path: Path) -> None:
    words = replaced(replaced(WATCHED, "--ligs-pictures", "0"), "--epochs", "1")
    out = tmp_path / "out"
    assert hardy(*words, "--ligs-weight", "0.5", "--out", out) == 0
    (row,) = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    assert -1 <= row["ligs"] <= 1


def test_a_sigma_that_nothing_uses_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert hardy(*TRAIN, "--ligs-sigma", "0.1", "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--ligs-sigma is for --ligs-weight and --ligs-pictures" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--ligs-weight", "--ligs-pictures", "--ligs-sigma"])
def test_what_train_asks_of_ligs(flag: str, tmp_path: Path, capsys: Any) -> None:
    assert hardy(*replaced(TRAIN, flag, "-1"), "--out", tmp_path / "out") == 2
    assert flag in capsys.readouterr().err
