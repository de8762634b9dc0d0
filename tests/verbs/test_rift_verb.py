"""hardy rift: what it may look at, what it tries, and what it gives back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from verb_runs import RIFT, TRAIN, arguments, hardy, points, replaced, subjects_on_the_way, weights

import hardy as package
from hardy.data.splits import halves, limited
from hardy.evaluation.results import Results, read
from hardy.evaluation.robustness import rightly
from hardy.finetuning.interpolate import allowed_fall
from hardy.finetuning.mrc import candidates
from hardy.models.load import load, read_checkpoint


def rift(out: Path, *words: object) -> Results:
    assert hardy(*RIFT, *words, "--out", out) == 0
    return read(out)


def splits(results: Results) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """(name, n) of the splits that were chosen on, and of those that were reported."""
    accuracies = [m for m in results.measurements if m.quantity.endswith(" accuracy")]
    chosen = {(m.split, m.n) for m in accuracies if "alpha" in m.setting}
    final = {(m.split, m.n) for m in accuracies if "alpha" not in m.setting}
    return chosen, final


def test_the_result_is_what_the_results_say(better: Path) -> None:
    results = read(better)
    test = limited(package.load_data("digits", val_fraction=0.2).test, 200, 0)
    accuracy = float(rightly(package.load(better), test).double().mean())
    assert accuracy == results.one("clean accuracy", subject="result", split="test").value
    assert {"report.html", "pictures.npz", "results.json", "best.safetensors"} <= {
        path.name for path in better.iterdir()
    }


def test_our_own_network_is_chosen_on_val_and_reported_on_test(better: Path) -> None:
    results = read(better)
    assert splits(results) == ({("val", 200)}, {("test", 200)})
    assert any("chosen on val; test was read once" in note for note in results.notes)


def test_the_choice_follows_the_rule(better: Path) -> None:
    """The most clean accuracy within the tolerance, and a gain where there is room."""
    results = read(better)
    tried = [name for name in subjects_on_the_way(results) if name != "bn only"]
    floor = points(results, tried[0])[0]
    start = results.one("robust accuracy", subject=tried[0], alpha=0.0).value
    lowest = start - allowed_fall(200, 0.05) / 200 - 1e-9
    kept = [
        m.value
        for name in tried
        for m in points(results, name)
        if results.one("robust accuracy", subject=name, alpha=m.setting["alpha"]).value >= lowest
    ]
    (chosen,) = results.select("clean accuracy", chosen=True)
    assert chosen.value == max(kept) > floor.value
    assert results.facts["alpha"] == chosen.setting["alpha"]
    assert str(results.facts["module"]) in chosen.subject


def test_only_the_chosen_weight_moved(robust: Path, better: Path) -> None:
    before, after = weights(robust), weights(better)
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert moved == [f"{read(better).facts['module']}.weight"]


def test_every_point_is_measured_on_the_same_pictures_and_starts(better: Path) -> None:
    results = read(better)
    on_the_way = [m for m in results.select("robust accuracy") if "alpha" in m.setting]
    terms = ("seed", "restarts", "steps", "step_size", "eps")
    assert len({(m.split, m.n, *(m.setting[k] for k in terms)) for m in on_the_way}) == 1
    starts = {m.value for m in on_the_way if m.setting["alpha"] == 0}
    assert len(starts) == 1


def test_a_change_of_nothing_changes_no_verdict(robust: Path, tmp_path: Path) -> None:
    """The points are paired: at a learning rate that moves nothing they equal the start."""
    results = rift(tmp_path / "r", "--checkpoint", robust, "--lr", "1e-12", "--no-bn-only")
    (subject,) = subjects_on_the_way(results)
    for quantity in ("clean accuracy", "robust accuracy"):
        values = [m.value for m in results.select(quantity, subject=subject)]
        assert len(values) == 3 and len(set(values)) == 1


def test_where_nothing_meets_the_rule_the_start_is_given_back_bit_for_bit(
    robust: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = rift(tmp_path / "r", "--checkpoint", robust, "--lr", "1e-12")
    before, after = weights(robust), weights(tmp_path / "r")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert any("the start is returned unchanged" in note for note in results.notes)
    assert (results.facts["module"], results.facts["alpha"]) == ("none", 0.0)
    assert results.one("clean accuracy gain", subject="result").value == 0
    assert "returned unchanged" in capsys.readouterr().out


def test_a_foreign_file_is_chosen_on_one_half_of_test_and_reported_on_the_other(
    foreign: Path, tmp_path: Path
) -> None:
    words = ("--checkpoint", foreign, "--model", "small_resnet", "--no-bn-only")
    whole = replaced(replaced(RIFT, "--choose-pictures", "unset"), "--test-limit", "unset")
    assert hardy(*whole, *words, "--out", tmp_path / "r") == 0
    results = read(tmp_path / "r")
    chosen, final = splits(results)
    assert chosen == {("test (choosing half)", 224)}
    assert final == {("test (reported half)", 225)}
    assert any("comes from elsewhere and has seen all of train" in note for note in results.notes)
    test = package.load_data("digits", val_fraction=0.2).test
    one, other = halves(test, 0)
    assert set(one.index.tolist()).isdisjoint(other.index.tolist())
    assert len(one) + len(other) == len(test) == 449


def test_our_own_network_with_another_cut_of_val_has_seen_it(robust: Path, tmp_path: Path) -> None:
    words = replaced(RIFT, "--val-fraction", "0.3")
    assert hardy(*words, "--checkpoint", robust, "--no-bn-only", "--out", tmp_path / "r") == 0
    assert splits(read(tmp_path / "r"))[0] == {("test (choosing half)", 200)}


def test_the_result_of_rift_knows_whether_its_val_is_still_unseen(
    better: Path, foreign: Path, tmp_path: Path
) -> None:
    """val was only chosen on: again val for ours; the foreign one stays foreign."""
    ours = rift(tmp_path / "ours", "--checkpoint", better, "--no-bn-only")
    assert splits(ours)[0] == {("val", 200)}
    named = ("--checkpoint", foreign, "--model", "small_resnet", "--no-bn-only")
    rift(tmp_path / "theirs", *named)
    again = rift(tmp_path / "again", "--checkpoint", tmp_path / "theirs", "--no-bn-only")
    assert splits(again)[0] == {("test (choosing half)", 200)}


def test_training_on_does_not_make_a_seen_val_unseen(foreign: Path, tmp_path: Path) -> None:
    """A foreign network that is trained on here has still seen val; and the page says so."""
    start = ("--checkpoint", foreign, "--model", "small_resnet")
    assert hardy(*TRAIN, *start, "--epochs", "1", "--out", tmp_path / "on") == 0
    assert any("may have seen the validation" in note for note in read(tmp_path / "on").notes)
    results = rift(tmp_path / "r", "--checkpoint", tmp_path / "on", "--no-bn-only")
    assert splits(results)[0] == {("test (choosing half)", 200)}
    assert any("What this network was trained from" in note for note in results.notes)


def test_a_later_evaluation_knows_on_what_the_network_was_chosen(
    foreign: Path, tmp_path: Path
) -> None:
    named = ("--checkpoint", foreign, "--model", "small_resnet", "--no-bn-only")
    rift(tmp_path / "theirs", *named)
    where = ("--data", "digits", "--val-fraction", "0.2", "--limit", "50", "--restarts", "1")
    assert hardy("evaluate", tmp_path / "theirs", *where, "--out", tmp_path / "e") == 0
    assert any("chosen on pictures of this very test" in n for n in read(tmp_path / "e").notes)


def test_criticality_on_test_is_said(robust: Path, tmp_path: Path) -> None:
    results = rift(tmp_path / "r", "--checkpoint", robust, "--mrc-split", "test", "--no-bn-only")
    assert any("Criticality was measured on test pictures" in note for note in results.notes)


def test_choosing_on_test_is_possible_and_is_said(robust: Path, tmp_path: Path) -> None:
    results = rift(tmp_path / "r", "--checkpoint", robust, "--choose-on", "test", "--no-bn-only")
    assert splits(results) == ({("test", 200)}, {("test", 200)})
    assert any("the gain is flattered" in note for note in results.notes)


@pytest.mark.parametrize("word", ["least", "most", "last", "all"])
def test_the_words_for_modules(word: str, robust: Path, tmp_path: Path) -> None:
    named = ("--modules", word, "--k", "2", "--no-bn-only", "--checkpoint", robust)
    results = rift(tmp_path / "r", *named)
    order = [m.subject for m in sorted(results.select("mrc"), key=lambda m: m.value)]
    names = candidates(load(robust))
    expected = {
        "least": " + ".join(order[:2]),
        "most": " + ".join(order[-2:]),
        "last": names[-1],
        "all": f"{len(names)} modules",
    }[word]
    assert subjects_on_the_way(results) == [f"{expected}, lr 0.001"]


def test_modules_by_name_are_tuned_together(robust: Path, tmp_path: Path) -> None:
    two = "layer1.0.conv2, linear"
    results = rift(tmp_path / "r", "--modules", two, "--no-bn-only", "--checkpoint", robust)
    assert subjects_on_the_way(results) == ["layer1.0.conv2 + linear, lr 0.001"]


def test_search_tries_the_least_critical_and_those_of_highest_potential(better: Path) -> None:
    results = read(better)
    by_mrc = [m.subject for m in sorted(results.select("mrc"), key=lambda m: m.value)]
    potential = sorted(results.select("clean potential"), key=lambda m: -m.value)
    wanted = dict.fromkeys([*by_mrc[:2], *(m.subject for m in potential[:2])])
    tried = subjects_on_the_way(results)
    assert tried == [*(f"{name}, lr 0.03" for name in wanted), "bn only"]


def test_batchnorm_is_tried_frozen_and_reestimated(robust: Path, tmp_path: Path) -> None:
    both = ("--batchnorm", "frozen", "reestimated", "--modules", "conv1", "--lr", "0.01", "0.02")
    results = rift(tmp_path / "r", *both, "--checkpoint", robust)
    assert subjects_on_the_way(results) == [
        "conv1, lr 0.01",
        "conv1, lr 0.01, BN re-estimated",
        "conv1, lr 0.02",
        "conv1, lr 0.02, BN re-estimated",
        "bn only",
    ]
    tuned = {path.name for path in (tmp_path / "r" / "steps").glob("tuned*")}
    assert len(tuned) == 5
    assert results.one("clean accuracy", subject="bn only", split="test").n == 200


def test_the_baseline_of_batchnorm_is_never_the_result(robust: Path, tmp_path: Path) -> None:
    """It is a row of its own: only a tuned module can be chosen."""
    results = rift(tmp_path / "r", "--checkpoint", robust, "--lr", "1e-12", "--tolerance", "1")
    assert results.facts["module"] == "none"
    assert any(m.value != points(results, "bn only")[0].value for m in points(results, "bn only"))


def test_what_decides_gives_the_choice_of_the_whole_path(
    robust: Path, better: Path, tmp_path: Path
) -> None:
    """Fewer attacks, the same network; and no robust accuracy is made up."""
    wide = ("--choose", "both", "--k", "2", "--lr", "0.03", "--tolerance", "0.05")
    named = ("--checkpoint", robust, "--path", "deciding")
    found, whole = rift(tmp_path / "r", *wide, *named), read(better)
    for fact in ("module", "alpha", "learning rate", "tolerance"):
        assert found.facts[fact] == whole.facts[fact]
    assert all(torch.equal(v, weights(tmp_path / "r")[k]) for k, v in weights(better).items())
    for subject in ("start", "result"):
        for quantity in ("clean accuracy", "robust accuracy"):
            values = [r.one(quantity, subject=subject, split="test").value for r in (found, whole)]
            assert values[0] == values[1]
    tried = subjects_on_the_way(whole)
    assert tried == subjects_on_the_way(found)
    attacked = skipped = 0
    for subject in tried:
        for m in points(whole, subject):
            alpha = m.setting["alpha"]
            (clean,) = (p for p in points(found, subject) if p.setting["alpha"] == alpha)
            assert clean.value == m.value
            there = list(found.select("robust accuracy", subject=subject, alpha=alpha))
            wanted = whole.one("robust accuracy", subject=subject, alpha=alpha).value
            assert [m.value for m in there] == [wanted] * len(there)
            assert ("robust accuracy" in clean.setting) == (not there)
            attacked, skipped = attacked + len(there), skipped + (not there)
    assert attacked > len(tried) and skipped > 0, "the start of each, and at least one point"
    assert any("--path deciding" in note for note in found.notes)
    assert not any("--path deciding" in note for note in whole.notes)


def test_the_same_run_twice_is_the_same(better: Path, tmp_path: Path) -> None:
    results = package.rift(**arguments(better), out=tmp_path / "again")
    assert results.measurements == read(better).measurements
    assert all(torch.equal(v, weights(tmp_path / "again")[k]) for k, v in weights(better).items())


def test_the_checkpoint_remembers_where_it_comes_from(better: Path) -> None:
    found = read_checkpoint(better)
    assert found.ours and found.classes == tuple("0123456789")
    assert (found.extra["data"], found.extra["method"]) == ("digits", "rift")


@pytest.mark.slow
def test_the_official_recipe_on_a_foreign_file(foreign: Path, tmp_path: Path) -> None:
    words = replaced(RIFT, "--mrc-pictures", "0")
    named = ("--recipe", "rift_official", "--checkpoint", foreign, "--model", "small_resnet")
    assert hardy(*words, *named, "--modules", "layer1.0.conv1", "--out", tmp_path / "r") == 0
    results = read(tmp_path / "r")
    measured = results.one("mrc", subject="conv1")
    assert (measured.split, measured.n) == ("test", 449)
    assert str(measured.setting["ascent"]).startswith("OfficialAscent(")
    assert measured.setting["step_size"] == pytest.approx(2 / 225)
    subject = "layer1.0.conv1, lr 0.001, BN re-estimated"
    assert subjects_on_the_way(results) == [subject, "bn only"]
