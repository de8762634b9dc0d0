"""hardy why: every number that the page's sentences rest on, measured as the other verbs do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from verb_runs import SMALL, TRAIN, arguments, hardy, replaced, timeless

import hardy as package
from hardy import load
from hardy.data.load import load_data
from hardy.data.splits import limited
from hardy.diagnosis.ligs import ligs
from hardy.evaluation.results import Results, read
from hardy.evaluation.statistics import wilson
from hardy.models.architecture import Architecture
from hardy.models.load import save
from hardy.modes import batchnorms
from hardy.reporting.why import numbers, why
from hardy.verbs.asked.inputs import DATA_SEED

WHY = (
    *("why", *SMALL, "--limit", "120", "--mrc-pictures", "32", "--preflight-pictures", "40"),
    *("--corruptions", "contrast", "--severities", "1", "--corruption-pictures", "40"),
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of standard training on digits, of one epoch."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "plain"
    words = replaced(replaced(TRAIN, "--method", "standard"), "--epochs", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        assert hardy(*words, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def told(robust: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the robust network beside the plain one, with an earlier epoch of its run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("why")
    shutil.copytree(robust, folder / "robust")
    shutil.copy(plain / "best.safetensors", folder / "robust" / "epoch-1.safetensors")
    out = folder / "why"
    with pytest.MonkeyPatch.context() as patch:
        # The figures are made; that they can be saved is shown where they are tested alone.
        patch.setattr("hardy.reporting.page.svg", lambda _: b"<svg/>")
        patch.setattr("hardy.reporting.page.png", lambda _: b"")
        assert hardy(*WHY, folder / "robust", "--baseline", plain, "--out", out) == 0
    return out


def test_the_page_links_every_sentence_to_its_numbers(drawn: None, told: Path) -> None:
    page = (told / "report.html").read_text(encoding="utf-8")
    results = read(told)
    said = why(results)
    assert said is not None and said.what and said.reasons and said.next
    links = {anchor for _, sentences in said.parts for one in sentences for anchor in one.anchors}
    assert links == set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(re.findall(r'id="([^"]+)"', page))
    assert len(numbers(results, said)) == len([one for one in links if "number-" in one])
    for section in ("why", "profile", "ligs", "transfer", "modules", "corruptions", "training"):
        assert f'id="{section}"' in page
    for figure in ("profile", "ligs", "transfer"):
        drawn_as = {f"figures/{figure}.svg", f"figures/{figure}.png"}
        assert drawn_as <= {a.path for a in results.artifacts}
    # Whether LIGS differs is said once: here less than a reader would notice counts as alike.
    assert "more linear than" not in page and "less linear than" not in page


def test_it_measures_what_the_other_verbs_do(told: Path, robust: Path, plain: Path) -> None:
    results = read(told)
    assert results.facts["network"] == "robust" and results.facts["baseline"] == "plain"
    assert results.facts["method"] == "pgd_at"
    other = package.evaluate(
        checkpoints=(plain, robust),
        **{k: v for k, v in arguments(told).items() if k in EVALUATED},
        curve_pictures=0,
        out=told.parent / "evaluated",
    )
    kinds = ("clean accuracy", "robust accuracy", "clean accuracy gain", "robust accuracy gain")
    kinds += ("corruption accuracy",)
    for kind in kinds:
        own = [m for m in results.select(kind) if not {"epoch"} & m.setting.keys()]
        assert [m for m in own if "last epoch" not in m.subject] == list(other.select(kind))
    test = limited(load_data("digits", val_fraction=0.2, seed=DATA_SEED).test, 120, DATA_SEED)
    of = {name: ligs(load(path), test) for name, path in (("robust", robust), ("plain", plain))}
    for name, found in of.items():
        assert results.one("ligs", subject=name).value == pytest.approx(found.value, abs=1e-3)
    gain = results.one("ligs gain", subject="robust − plain")
    assert gain.value == pytest.approx(of["robust"].value - of["plain"].value, abs=1e-3)
    for name, path in (("robust", robust), ("plain", plain)):
        layers = results.one("BatchNorm layers", subject=name).value
        assert layers == len(batchnorms(load(path))) > 0


EVALUATED = {
    *("data", "val_fraction", "eps", "steps", "restarts", "batch_size", "device", "limit"),
    *("preflight_pictures", "corruptions", "severities", "corruption_pictures"),
}


def test_transfer_both_ways_and_from_an_earlier_epoch(told: Path) -> None:
    results = read(told)
    cells = {(m.setting["surrogate"], m.subject): m for m in results.select("transfer success")}
    surrogates, targets = ("plain", "robust", "robust/epoch-1"), ("plain", "robust")
    assert set(cells) == {(s, t) for s in surrogates for t in targets}
    for (surrogate, target), m in cells.items():
        assert m.interval == wilson(round(m.value * m.n), m.n)
        # The earlier epoch here is a copy of the baseline.
        if surrogate == "plain":
            assert m.value == cells["robust/epoch-1", target].value
    common = cells["plain", "robust"].n
    assert cells["robust", "plain"].n == common
    gain = results.one("transfer success gain", subject="plain", surrogate="robust/epoch-1")
    assert (gain.setting["other"], gain.n) == ("robust", common)
    # Its own surrogate: PGD in the white box, with the one start that robust accuracy had too.
    white = cells["plain", "plain"]
    clean, robust = (
        round(120 * results.one(f"{kind} accuracy", subject="plain").value)
        for kind in ("clean", "robust")
    )
    assert (white.n, round(white.value * white.n)) == (clean, clean - robust)


def test_training_is_told_under_the_networks_name(told: Path, robust: Path) -> None:
    results, trained = read(told), read(robust)
    own = [m for m in results.select("robust accuracy", subject="robust") if "epoch" in m.setting]
    assert [m.value for m in own] == [
        m.value for m in trained.select("robust accuracy") if "epoch" in m.setting
    ]
    fall = results.one("robust accuracy gain", subject="robust, last epoch − robust")
    assert fall.value == next(
        m.value for m in trained.select("robust accuracy gain") if "last epoch" in m.subject
    )


def test_alone_and_without_what_takes_long(plain: Path, tmp_path: Path) -> None:
    few = replaced(replaced(WHY, "--corruptions"), "--preflight-pictures", "0")
    assert hardy(*few, "--no-mrc", plain, "--out", tmp_path / "w") == 0
    results = read(tmp_path / "w")
    kinds = {m.quantity for m in results.measurements if "epoch" not in m.setting}
    assert {"clean accuracy", "robust accuracy", "ligs", "BatchNorm layers"} <= kinds
    assert not {"mrc", "transfer success", "corruption accuracy", "ligs gain"} & kinds
    said = why(results)
    assert said is not None and said.what and said.next
    # With nothing to compare it with.
    assert not any(" that of " in one.text for _, all_of in said.parts for one in all_of)


def test_a_stop_and_resume_give_the_same(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*replaced(WHY, "--preflight-pictures", "0"), plain)
    assert hardy(*words, "--out", tmp_path / "whole") == 0

    def stopped(*_: object) -> Results:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hardy.verbs.why.mrc.measure", stopped)
        assert hardy(*words, "--out", tmp_path / "cut") == 130
    with monkeypatch.context() as patch:
        patch.setattr(
            "hardy.verbs.evaluating.tallies.judge", stopped
        )  # what is finished is not done again
        assert hardy(*words, "--out", tmp_path / "cut", "--resume") == 0
    whole, cut = read(tmp_path / "whole"), read(tmp_path / "cut")
    assert timeless(whole) == timeless(cut) and whole.notes == cut.notes


def test_mistakes_are_one_line(
    robust: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Architecture("small_resnet", 7, 1, "none")
    save(tmp_path / "seven.safetensors", spec.build(), spec, classes=(), extra={})
    several = tmp_path / "several"
    for seed in (0, 1):
        shutil.copytree(plain, several / f"seed-{seed}")
    for words, said in (
        ((), "nothing to explain: give a run folder or a checkpoint"),
        ((tmp_path / "absent",), "no"),
        ((robust, "--checkpoint", robust), "by its position or by --checkpoint"),
        ((robust, "--baseline", robust), "is the network itself"),
        ((robust, "--baseline", tmp_path / "seven.safetensors"), "7 classes apart, digits has 10"),
        ((several,), "several holds the runs of several seeds"),
        ((robust, "--baseline", several), "--baseline several holds the runs of several seeds"),
        ((robust, "--severities", "6"), "--severities must be whole numbers from 1 to 5"),
        ((robust, "--ligs-sigma", "0"), "--ligs-sigma must be positive"),
    ):
        words = (*replaced(WHY, "--severities", "6"), *words) if "--severities" in words else (
            *WHY, *words)  # fmt: skip
        capsys.readouterr()
        assert hardy(*words, "--out", tmp_path / "out") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line and not (tmp_path / "out").exists()
