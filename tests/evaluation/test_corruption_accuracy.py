"""Accuracy under corruptions: every cell, and means that are those of their cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hardy.data.corruptions import EXTRA, FAMILIES, SEVERITIES, STANDARD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.corruption import (
    accuracies_under,
    mean_accuracies,
    mean_gains,
    named,
    scores,
    under_corruption,
)
from hardy.evaluation.statistics import Z, paired, wilson

N = 20
ABOUT = {"source": "generated", "parameters": "cifar", "seed": 0}


def some_right(names: tuple[str, ...], seed: int = 0) -> dict[str, dict[int, Tensor]]:
    """Any verdicts, other ones in every cell."""
    index = torch.arange(N)
    return {
        name: {s: Draws(seed, s, index).uniform((), name) < 0.6 for s in SEVERITIES}
        for name in names
    }


def share_of_cells(
    right: dict[str, dict[int, Tensor]], names: tuple[str, ...], *severities: int
) -> float:
    """The mean over cells, by hand."""
    cells = [right[n][s].tolist() for n in names for s in severities or SEVERITIES]
    return sum(sum(cell) / N for cell in cells) / len(cells)


def test_words_for_several_corruptions() -> None:
    assert named(["standard"]) == list(STANDARD) and named(["extra"]) == list(EXTRA)
    assert named(["all"]) == list(FAMILIES) and named([]) == []
    assert named(["fog", "extra", "fog", "saturate"]) == ["fog", *EXTRA]
    with pytest.raises(ValueError, match="no corruption 'mist': there are standard, extra, all"):
        named(["fog", "mist"])


def test_the_pictures_are_made_once_for_all_networks() -> None:
    """Pictures of one pixel: severity s adds 20 s; a network sees class 1 from its threshold on."""
    images = torch.arange(0, 200, 10, dtype=torch.uint8).view(N, 1, 1, 1)
    clean = Split(images, torch.ones(N, dtype=torch.int64), torch.arange(N), "test")
    made = []

    def make(name: str, severity: int) -> Split:
        made.append((name, severity))
        return Split(images + 20 * severity, clean.labels, clean.index, "test")

    def from_(threshold: float):
        return lambda x: torch.cat([torch.full_like(x, threshold / 255), x], 1).flatten(1)

    advanced = []
    found = under_corruption(
        [from_(55), from_(105)], make, "fog", (1, 3), batch_size=7, on_pictures=advanced.append
    )
    assert made == [("fog", 1), ("fog", 3)]
    assert advanced == [2 * N, 2 * N]
    for row, threshold in zip(found, (55, 105), strict=True):
        for hits, severity in zip(row, (1, 3), strict=True):
            assert torch.equal(hits, images.flatten() + 20 * severity > threshold)


def test_every_cell_says_what_it_is() -> None:
    right = some_right(("fog", "saturate"))
    found = accuracies_under(right, "test", "net", ABOUT)
    assert len(found) == 10
    for one in found:
        name, severity = str(one.setting["corruption"]), one.setting["severity"]
        hits = right[name][int(severity or 0)]
        assert one.quantity == "corruption accuracy" and one.subject == "net"
        assert one.value == int(hits.sum()) / N and one.interval == wilson(int(hits.sum()), N)
        assert one.setting["family"] == FAMILIES[name]
        assert one.setting["standard"] is (name == "fog")
        assert one.setting.items() >= ABOUT.items()


def test_means_are_those_of_their_cells() -> None:
    right = some_right(tuple(FAMILIES))
    found = {m.setting["of"]: m for m in mean_accuracies(right, "test", "net", ABOUT)}
    families = {of: tuple(n for n in STANDARD if FAMILIES[n] == of) for of in FAMILIES.values()}
    assert [len(families[of]) for of in ("noise", "blur", "weather", "digital")] == [3, 4, 4, 4]
    by_hand = {"standard 15": share_of_cells(right, STANDARD)}
    by_hand |= {of: share_of_cells(right, names) for of, names in families.items()}
    by_hand["extra 4"] = share_of_cells(right, EXTRA)
    by_hand |= {f"severity {s}": share_of_cells(right, STANDARD, s) for s in SEVERITIES}
    assert found.keys() == by_hand.keys()
    for of, value in by_hand.items():
        assert found[of].value == pytest.approx(value, abs=1e-12)
        assert found[of].n == N and found[of].setting.items() >= ABOUT.items()


def test_the_interval_of_a_mean_is_over_pictures() -> None:
    """Half of the pictures are right in all cells and half in none: cells agree, so that many
    of them tell no more than one."""
    half = torch.arange(N) < N // 2
    right = {name: dict.fromkeys(SEVERITIES, half) for name in STANDARD}
    (whole, *_) = mean_accuracies(right, "test", "net", ABOUT)
    width = Z * (0.25 * N / (N - 1)) ** 0.5 / N**0.5
    assert whole.interval == pytest.approx((0.5 - width, 0.5 + width), abs=1e-12)


def test_a_mean_needs_all_of_its_cells() -> None:
    right = some_right(tuple(FAMILIES))
    del right["fog"][4], right["speckle_noise"]
    assert scores(right).keys() == {
        *("noise", "blur", "digital"),
        *("severity 1", "severity 2", "severity 3", "severity 5"),
    }
    assert scores(some_right(("fog",))) == {}


def test_gains_are_paired_by_picture() -> None:
    before, after = some_right(STANDARD), some_right(STANDARD, seed=1)
    for one in mean_gains(before, before, "test", "b − a", ABOUT):
        assert one.value == 0 and one.interval == paired(0, 0, one.n)
    (gain, *others) = mean_gains(before, after, "test", "b − a", ABOUT)
    assert (gain.quantity, gain.subject) == ("mean corruption accuracy gain", "b − a")
    means = share_of_cells(after, STANDARD) - share_of_cells(before, STANDARD)
    assert gain.value == pytest.approx(means, abs=1e-12) and len(others) == 9
    # Every picture gains the same: the difference is certain, although the scores vary.
    worse = {name: dict.fromkeys(SEVERITIES, torch.arange(N) < 9) for name in STANDARD}
    better = {**worse, "fog": {s: ~hits for s, hits in worse["fog"].items()}}
    (gain, *_) = mean_gains(worse, better, "test", "b − a", ABOUT)
    assert gain.value == pytest.approx((11 - 9) / N / 15, abs=1e-12)
    change = torch.where(torch.arange(N) < 9, -1.0, 1.0).double() / 15
    half = Z * float(change.std()) / N**0.5
    assert gain.interval == pytest.approx((gain.value - half, gain.value + half), abs=1e-12)


def test_one_picture_says_nothing_of_others() -> None:
    right = {name: dict.fromkeys(SEVERITIES, torch.tensor([True])) for name in STANDARD}
    for one in mean_accuracies(right, "test", "net", ABOUT):
        assert (one.value, one.interval) == (1.0, wilson(1, 1))
