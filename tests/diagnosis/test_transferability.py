"""Transfer between networks small enough to count by brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.mi_fgsm import MIFGSM, Iterative
from hardy.attacks.pgd import PGD
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.diagnosis.transferability import drawn_aims, transfer
from hardy.diagnosis.transferred import Cell, Comparison, Transfer
from hardy.draws import Draws
from hardy.evaluation.robustness import Protocol, judge
from hardy.evaluation.statistics import mcnemar, paired, wilson
from hardy.evaluation.steps import Steps
from hardy.modes import evaluating
from hardy.threat import L2, Linf

N, CLASSES, EPS = 90, 3, 12 / 255


class Small(nn.Module):
    """Logits of three classes by a hidden layer, its weights partly those of all such nets;
    BatchNorm and dropout tell the modes apart."""

    def __init__(self, seed: int, hidden: int = 12) -> None:
        super().__init__()
        both = [Draws(one, 0, torch.tensor([0])) for one in (100, seed)]
        shared, own = (d.normal((hidden, 16 + CLASSES), "w")[0] for d in both)
        weight = shared + 0.4 * own
        self.first = nn.Linear(16, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(hidden, CLASSES, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(weight[:, :16] / 2)
            self.first.bias.copy_(-self.first.weight.sum(1) / 2)
            self.last.weight.copy_(weight[:, 16:].T)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(torch.tanh(self.norm(self.first(2 * x.flatten(1))))))


def some_split(*nets: nn.Module) -> Split:
    """Grey pictures; the labels are what the first net says, of every third what the last does,
    and every ninth is another, so that no net is right everywhere."""
    draws = Draws(0, 0, torch.arange(100, 100 + N))
    images = (64 + draws.integers(128, (1, 4, 4), "images")).to(torch.uint8)
    labels = said(nets[0], images / 255)
    labels[::3] = said(nets[-1], images / 255)[::3]
    labels[::9] = (labels[::9] + 1) % CLASSES
    return Split(images, labels, torch.arange(100, 100 + N), "test")


@torch.no_grad()
def said(net: nn.Module, x: Tensor) -> Tensor:
    with evaluating(net):
        return net(x).argmax(1)


@pytest.fixture
def nets() -> dict[str, nn.Module]:
    return {name: Small(seed) for seed, name in enumerate("abc")}


def by_hand(
    surrogate: nn.Module, target: nn.Module, split: Split, attack: Iterative, aims: Tensor | None
) -> tuple[int, int]:
    """n and how many are fooled, picture by picture."""
    n = fooled = 0
    with evaluating(surrogate, target):
        for batch in batches(split, 1, seed=5):
            y, x = batch.y, batch.x
            if said(surrogate, x) != y or said(target, x) != y:
                continue
            if aims is None:
                x_adv = attack(surrogate, x, y, batch.draws)
                fooled += int(said(target, x_adv) != y)
            else:
                aim = aims[batch.index - 100]
                x_adv = attack.towards(surrogate, x, aim, batch.draws)
                fooled += int(said(target, x_adv) == aim)
            n += 1
    return n, fooled


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    "attack",
    [PGD(Linf(EPS), steps=4), PGD(L2(0.12), steps=3), MIFGSM(Linf(EPS), steps=4)],
    ids=repr,
)
def test_every_cell_is_that_of_brute_force(
    attack: Iterative, targeted: bool, nets: dict[str, nn.Module]
) -> None:
    surrogates, targets = {"a": nets["a"], "b": nets["b"]}, {"b": nets["b"], "c": nets["c"]}
    split = some_split(nets["a"], nets["c"])
    found = transfer(surrogates, targets, split, attack, targeted=targeted, seed=5).cells()
    assert [(cell.surrogate, cell.target) for cell in found] == [
        ("a", "b"), ("a", "c"), ("b", "b"), ("b", "c"),
    ]  # fmt: skip
    aims = drawn_aims(split, CLASSES, 5) if targeted else None
    for cell in found:
        of = surrogates[cell.surrogate], targets[cell.target]
        n, fooled = by_hand(*of, split, attack, aims)
        assert (cell.n, cell.fooled) == (n, fooled)
        assert cell.success == fooled / n and cell.interval == wilson(fooled, n)
    assert len({(cell.n, cell.fooled) for cell in found}) > 2  # no trivial matrix
    assert 0 < sum(cell.fooled for cell in found) < sum(cell.n for cell in found)


@pytest.mark.parametrize("norm", [Linf(EPS), L2(0.12)], ids=repr)
def test_the_diagonal_is_white_box_pgd_count_for_count(
    norm: Linf | L2, nets: dict[str, nn.Module]
) -> None:
    split, attack = some_split(*nets.values()), PGD(norm, steps=5)
    for cell in transfer(nets, nets, split, attack, seed=3, batch_size=16).cells():
        if cell.surrogate != cell.target:
            continue
        protocol = Protocol(attack, restarts=1, seed=3, batch_size=16)
        verdicts = judge(nets[cell.target], split, protocol)
        assert cell.n == int(verdicts.clean.sum()) < N
        assert cell.n - cell.fooled == int(verdicts.robust.sum())
        assert 0 < cell.fooled < cell.n


def test_the_last_iterate_counts_also_where_it_does_not_fool_the_surrogate() -> None:
    """Both nets read one pixel; the target's threshold is nearer than the surrogate's own, so the
    examples that leave the surrogate where it was fool the target."""

    class Threshold(nn.Module):
        def __init__(self, at: float) -> None:
            super().__init__()
            self.at = nn.Parameter(torch.tensor(at))

        def forward(self, x: Tensor) -> Tensor:
            score = x.flatten(1).sum(1) - self.at
            return torch.stack([torch.zeros_like(score), score], 1)

    images = torch.full((4, 1, 1, 1), 153, dtype=torch.uint8)  # 0.6: class 1 of both
    split = Split(images, torch.ones(4, dtype=torch.int64), torch.arange(4), "test")
    surrogate, target = Threshold(0.3), Threshold(0.5)
    attack = PGD(Linf(0.2), steps=5)
    cells = transfer({"s": surrogate}, {"s": surrogate, "t": target}, split, attack).cells()
    assert cells == [Cell("s", "s", 4, 0), Cell("s", "t", 4, 4)]


def test_targets_are_wrong_classes_uniform_and_the_same_for_all_surrogates(
    nets: dict[str, nn.Module],
) -> None:
    labels = torch.arange(3000) % 5
    split = Split(torch.zeros(3000, 1, 1, 1), labels, torch.arange(3000), "test")
    aims = drawn_aims(split, 5, seed=1)
    assert (aims != labels).all() and aims.min() == 0 and aims.max() == 4
    for y in range(5):  # each of the four wrong classes a quarter of 600: five sigma are 53
        counts = torch.bincount(aims[labels == y], minlength=5)
        assert counts[y] == 0 and ((counts[counts > 0] - 150).abs() < 53).all()
    part = torch.tensor([7, 2000, 3])
    assert torch.equal(drawn_aims(split.take(part), 5, seed=1), aims[part])
    assert not torch.equal(drawn_aims(split, 5, seed=2), aims)

    pictures, attack = some_split(*nets.values()), PGD(Linf(EPS), steps=1)
    both = transfer(nets, nets, pictures, attack, targeted=True, seed=4)
    alone = transfer({"b": nets["b"]}, nets, pictures, attack, targeted=True, seed=4)
    assert both.aims is not None and torch.equal(both.aims, drawn_aims(pictures, CLASSES, 4))
    assert [c for c in both.cells() if c.surrogate == "b"] == alone.cells()


@pytest.mark.parametrize("targeted", [False, True])
def test_another_batch_size_counts_the_same(targeted: bool, nets: dict[str, nn.Module]) -> None:
    split, attack = some_split(*nets.values()), PGD(Linf(EPS), steps=3)
    whole = transfer(nets, nets, split, attack, targeted=targeted).cells()
    assert transfer(nets, nets, split, attack, targeted=targeted, batch_size=7).cells() == whole


class Counted(nn.Module):
    """Counts the pictures that are attacked on it, and is stopped after so many of them."""

    def __init__(self, net: nn.Module, most: float = math.inf) -> None:
        super().__init__()
        self.net, self.most, self.attacked = net, most, 0

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            if self.attacked >= self.most:
                raise KeyboardInterrupt
            self.attacked += len(x)
        return self.net(x)


def test_what_was_stopped_goes_on_and_finds_the_same(
    nets: dict[str, nn.Module], tmp_path: Path
) -> None:
    split, attack = some_split(*nets.values()), PGD(Linf(EPS), steps=1)
    expected = transfer(nets, nets, split, attack, batch_size=16).cells()
    rightly = {cell.surrogate: cell.n for cell in expected if cell.surrogate == cell.target}
    assert all(n > 32 for n in rightly.values())

    broken = {**nets, "b": Counted(nets["b"], most=32)}
    with pytest.raises(KeyboardInterrupt):
        transfer(broken, broken, split, attack, batch_size=16, steps=Steps(tmp_path)).cells()
    counted = {name: Counted(net) for name, net in nets.items()}
    found = transfer(counted, counted, split, attack, batch_size=16, steps=Steps(tmp_path)).cells()
    assert found == expected
    done = [rightly[name] - counted[name].attacked for name in "abc"]
    assert done == [rightly["a"], 32, 0]


def test_networks_are_left_as_they_were(nets: dict[str, nn.Module]) -> None:
    nets["a"].train()
    before = {
        name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in nets.items()
    }
    state = torch.get_rng_state()
    transfer(nets, nets, some_split(*nets.values()), PGD(Linf(EPS), steps=1)).cells()
    assert nets["a"].training and torch.equal(torch.get_rng_state(), state)
    for name, net in nets.items():
        assert all(torch.equal(v, before[name][k]) for k, v in net.state_dict().items())
        assert all(p.requires_grad and p.grad is None for p in net.parameters())


def a_transfer(**fooled: str) -> Transfer:
    """Of ten pictures of class 0, all rightly classified but where there is a dot: x where a
    surrogate's example fools the target t, o where it does not."""
    marks = {name: torch.tensor([mark == "x" for mark in text]) for name, text in fooled.items()}
    right = {name: torch.tensor([mark != "." for mark in text]) for name, text in fooled.items()}
    return Transfer(
        labels=torch.zeros(10, dtype=torch.int64),
        surrogates=right,
        targets={"t": torch.tensor([True] * 9 + [False])},
        attacked={(name, "t"): hits.long() for name, hits in marks.items()},
    )


def test_two_surrogates_are_compared_where_all_three_are_right() -> None:
    found = a_transfer(one="xxxoooox.x", two="xooxo..xxx")
    assert found.cell("one", "t") == Cell("one", "t", 8, 4)
    assert found.cell("two", "t") == Cell("two", "t", 7, 4)
    # Both are right on pictures 0 to 4 and 7: two are fooled only by one, one only by two.
    comparison = found.compared("one", "two", "t")
    assert comparison == Comparison("one", "two", "t", 6, 2, 1)
    assert comparison.gain == 1 / 6
    assert comparison.interval == paired(2, 1, 6) and comparison.p == mcnemar(2, 1)


def test_surrogates_are_ranked_on_common_pictures_and_the_target_is_none_of_them() -> None:
    # On its own three pictures "few" fools all; two of them all get right, and "more" fools both.
    found = a_transfer(few="xx......x.", more="xxxxxo...o", t="oooooooooo")
    assert found.cell("few", "t").success == 1 > found.cell("more", "t").success
    assert found.on_common("t") == [Cell("few", "t", 2, 2), Cell("more", "t", 2, 2)]
    found = a_transfer(more="xxxxxo...o", few="ox......x.")
    assert found.on_common("t") == [Cell("more", "t", 2, 2), Cell("few", "t", 2, 1)]
    assert a_transfer(t="xxxxxxxxxx").on_common("t") == []
    apart = a_transfer(one="xxxxx.....", two=".....xxxxx").on_common("t")
    assert [cell.n for cell in apart] == [0, 0]


def test_as_measurements_they_say_all_that_is_needed() -> None:
    found, attack = a_transfer(one="xxxoooox.x", two="xooxo..xxx"), {"attack": "PGD", "seed": 0}
    m = found.cell("one", "t").measurement("test", attack)
    assert (m.quantity, m.subject, m.value, m.n) == ("transfer success", "t", 0.5, 8)
    assert m.setting == {"surrogate": "one", **attack} and m.interval == wilson(4, 8)
    m = found.compared("one", "two", "t").measurement("test", attack)
    assert (m.quantity, m.subject, m.value, m.n) == ("transfer success gain", "t", 1 / 6, 6)
    counts = {"gained": 2, "lost": 1, "p": 1.0}
    assert m.setting == {"surrogate": "one", "other": "two", **attack, **counts}


def test_without_common_pictures_nothing_is_known() -> None:
    found = a_transfer(one="..........", two="xxxxxxxxxx")
    cell, comparison = found.cell("one", "t"), found.compared("one", "two", "t")
    assert (cell.n, cell.interval, math.isnan(cell.success)) == (0, (0.0, 1.0), True)
    assert (comparison.interval, math.isnan(comparison.gain)) == ((-1.0, 1.0), True)


def _mistakes(nets: Mapping[str, nn.Module]) -> Iterator[tuple[Mapping[str, nn.Module], str]]:
    yield {"x": nn.Sequential(nn.Flatten(), nn.Linear(16, 4))}, "3 and 4 classes"
    yield {"a": nets["b"]}, "a names a surrogate and another target"


def test_mistakes_are_said(nets: dict[str, nn.Module]) -> None:
    split = some_split(*nets.values())
    for targets, message in _mistakes(nets):
        with pytest.raises(ValueError, match=message):
            transfer({"a": nets["a"]}, targets, split, PGD(Linf(EPS))).cells()


def test_nan_is_not_taken_for_a_class(nets: dict[str, nn.Module]) -> None:
    broken = Small(1)
    with torch.no_grad():
        broken.last.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        transfer(nets, {"x": broken}, some_split(*nets.values()), PGD(Linf(EPS), steps=1)).cells()
