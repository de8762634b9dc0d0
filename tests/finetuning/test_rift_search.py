"""The search of RiFT: ranks, choices, and stops that lose nothing but what was under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts
from hardy.evaluation.steps import Steps
from hardy.finetuning import rift
from hardy.finetuning.interpolate import Point
from hardy.finetuning.mrc import Ascent, Criticality, candidates
from hardy.finetuning.rift import (
    Tried,
    adversarial,
    attempt,
    best_of,
    criticalities,
    ranked,
    start_point,
)
from hardy.finetuning.tune import Candidate
from hardy.models.small import small_resnet
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Settings

ATTACK = PGD(Linf(8 / 255), steps=2)
PROTOCOL = Protocol(ATTACK, restarts=1, batch_size=32)
ALPHAS = (0.25, 0.5, 1.0)
CANDIDATE = Candidate(("linear",), 0.5)


def pictures(name: str, seed: int, count: int = 32) -> Split:
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    return Split(images, torch.randint(4, (count,)), torch.arange(count), name)


def network() -> nn.Module:
    torch.manual_seed(1)
    return small_resnet(num_classes=4)


def measured(module: str, mrc: float, potential: float) -> Criticality:
    return Criticality(module, mrc, (mrc, mrc), 0.0, 1, potential, 0.0)


FOUND = [
    measured("a", 0.3, 5.0),
    measured("b", 0.1, 1.0),
    measured("c", 0.2, 9.0),
    measured("d", 0.9, 7.0),
]


@pytest.mark.parametrize(
    ("choose_by", "k", "names"),
    [
        ("mrc", 1, ["b"]),
        ("mrc", 3, ["b", "c", "a"]),
        ("mrc", 9, ["b", "c", "a", "d"]),
        ("potential", 2, ["c", "d"]),
        ("both", 1, ["b", "c"]),
        ("both", 2, ["b", "c", "d"]),
        ("both", 4, ["b", "c", "a", "d"]),
    ],
)
def test_ranked(choose_by: str, k: int, names: list[str]) -> None:
    assert ranked(FOUND, choose_by, k) == names


def test_of_equal_modules_the_one_measured_first_comes_first() -> None:
    found = [measured(name, 0.5, 2.0) for name in "xyz"]
    assert ranked(found, "mrc", 2) == ranked(found, "potential", 2) == ["x", "y"]


def point(alpha: float, clean: int, robust: int, n: int = 1000) -> Point:
    return Point(alpha, Verdicts(torch.arange(n) < clean, torch.arange(n) < robust))


def tried(name: str, *points: Point) -> Tried:
    return Tried(Candidate((name,), 0.1), {}, list(points))


START = point(0.0, 800, 500)


def test_the_most_accurate_point_within_the_rule_wins() -> None:
    one = tried("one", point(0.5, 820, 500), point(1.0, 900, 400))
    two = tried("two", point(0.5, 830, 499), point(1.0, 890, 498))
    assert best_of(START, [one, two], 0.001) == (two, two.points[0])
    assert best_of(START, [two, one], 0.001) == (two, two.points[0])
    assert best_of(START, [one, two], 0.002) == (two, two.points[1])
    assert best_of(START, [one, two], 0.1) == (one, one.points[1])


def test_where_nothing_is_better_within_the_rule_the_start_stays() -> None:
    worse = tried("worse", point(0.5, 799, 600))
    equal = tried("equal", point(0.5, 800, 600))
    broken = tried("broken", point(0.5, 950, 498))
    assert best_of(START, [worse, equal, broken], 0.001) == (None, START)
    assert best_of(START, [], 0.001) == (None, START)


def test_of_equal_candidates_the_first_tried_wins() -> None:
    one, two = (tried(name, point(0.5, 820, 500)) for name in ("one", "two"))
    assert best_of(START, [one, two], 0.001)[0] is one


@dataclass
class Spies:
    """How often the two costly steps were run, with a stop to order."""

    tuned: int = 0
    alphas: tuple[float, ...] = ()
    stop_at: float | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tune, path = rift.tune, rift.path

        def counted_tune(*args: object) -> dict[str, Tensor]:
            self.tuned += 1
            return tune(*args)  # type: ignore[arg-type]

        def counted_path(model: nn.Module, end: dict, alphas: list[float], *args: object) -> list:
            if self.stop_at in alphas:
                raise KeyboardInterrupt
            self.alphas += tuple(alphas)
            return path(model, end, alphas, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(rift, "tune", counted_tune)
        monkeypatch.setattr(rift, "path", counted_path)


def attempted(steps: Steps, candidate: Candidate = CANDIDATE) -> Tried:
    return attempt(
        Engine(torch.device("cpu")),
        network(),
        candidate,
        pictures("train", 2),
        None,
        Settings(epochs=1, batch_size=8),
        ALPHAS,
        pictures("val", 3),
        PROTOCOL,
        steps,
    )


def same(a: Tried, b: Tried) -> bool:
    return (
        a.candidate == b.candidate
        and a.changed.keys() == b.changed.keys()
        and all(torch.equal(a.changed[key], b.changed[key]) for key in a.changed)
        and [p.alpha for p in a.points] == [p.alpha for p in b.points]
        and all(
            torch.equal(p.verdicts.clean, q.verdicts.clean)
            and torch.equal(p.verdicts.robust, q.verdicts.robust)
            for p, q in zip(a.points, b.points, strict=True)
        )
    )


def test_an_attempt_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attempted(Steps())
    assert whole.changed.keys() == {"linear.weight"} and len(whole.points) == 3
    spies = Spies(stop_at=0.25)
    spies.install(monkeypatch)

    with pytest.raises(KeyboardInterrupt):
        attempted(Steps(tmp_path))
    assert (spies.tuned, spies.alphas) == (1, ())
    spies.stop_at = 1.0
    with pytest.raises(KeyboardInterrupt):
        attempted(Steps(tmp_path))
    assert (spies.tuned, spies.alphas) == (1, (0.25, 0.5))
    spies.stop_at = None
    assert same(attempted(Steps(tmp_path)), whole)
    assert (spies.tuned, spies.alphas) == (1, (0.25, 0.5, 1.0))
    assert same(attempted(Steps(tmp_path)), whole)
    assert (spies.tuned, spies.alphas) == (1, (0.25, 0.5, 1.0))


def test_each_candidate_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        Candidate(("linear",), 0.05),
        Candidate(("linear",), 0.5, "train"),
        Candidate(("conv1", "linear"), 0.5),
        Candidate((), 0.0),
    ]
    spies = Spies()
    spies.install(monkeypatch)
    steps = Steps(tmp_path)
    first = {one: attempted(steps, one) for one in (CANDIDATE, *others)}
    assert spies.tuned == 5 and len(spies.alphas) == 15
    again = {one: attempted(steps, one) for one in (CANDIDATE, *others)}
    assert spies.tuned == 5 and len(spies.alphas) == 15
    assert all(same(first[one], again[one]) for one in first)


def test_the_start_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, split, steps = network(), pictures("val", 3), Steps(tmp_path)
    first = start_point(model, split, PROTOCOL, steps)
    monkeypatch.setattr(rift, "judge", lambda *_: pytest.fail("measured again"))
    again = start_point(model, split, PROTOCOL, steps)
    assert again.alpha == first.alpha == 0
    assert torch.equal(again.verdicts.clean, first.verdicts.clean)
    assert torch.equal(again.verdicts.robust, first.verdicts.robust)
    assert again.verdicts.robust.dtype == torch.bool


Say = Callable[[str], None]


def measure(model: nn.Module, steps: Steps | None, say: Say = lambda _: None) -> list[Criticality]:
    found = criticalities(
        model,
        pictures("train", 2),
        Protocol(ATTACK, restarts=1, batch_size=16),
        ascent=Ascent(steps=3),
        steps=steps,
        say=say,
    )
    return list(found)


def test_criticalities_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    model = network()
    whole = measure(model, None)
    names = candidates(model)
    assert [one.module for one in whole] == names
    state = {key: value.clone() for key, value in model.state_dict().items()}
    said: list[str] = []

    def stop_after_three(line: str) -> None:
        said.append(line.split(":")[0])
        if len(said) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(model, Steps(tmp_path), stop_after_three)
    assert said == names[:3]
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    rest: list[str] = []
    resumed = measure(model, Steps(tmp_path), lambda line: rest.append(line.split(":")[0]))
    assert rest == names[3:]
    assert resumed == whole
    rest.clear()
    assert measure(model, Steps(tmp_path), rest.append) == whole
    assert rest == []


def test_adversarial_examples_lie_in_the_ball_and_are_the_same_in_any_batches() -> None:
    model, split = network(), pictures("train", 2)
    model.train()
    found = adversarial(model, split, Protocol(ATTACK, seed=0, batch_size=8))
    assert model.training and found.shape == (32, 1, 8, 8)
    x = split.pixels(slice(None))
    assert 0.5 * 8 / 255 < float((found - x).abs().max()) <= 8 / 255 + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    whole = adversarial(model, split, Protocol(ATTACK, seed=0, batch_size=32))
    assert float(((found - whole).abs() < 1e-6).double().mean()) > 0.99
    other = adversarial(model, split, Protocol(ATTACK, seed=1, batch_size=8))
    assert not torch.equal(found, other)
    model.eval()
    with torch.no_grad():
        ce = nn.functional.cross_entropy
        assert ce(model(found), split.labels) > ce(model(x), split.labels)


def test_what_a_reader_must_know_is_told_again_after_a_stop(tmp_path: Path) -> None:
    class Undecided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) if x.sum() > 0 else -self.net(x)

    def told(steps: Steps) -> list[str]:
        notes: list[str] = []
        protocol = Protocol(ATTACK, restarts=1, batch_size=16)
        list(
            rift.criticalities(
                model,
                pictures("train", 2),
                protocol,
                ascent=Ascent(steps=1),
                steps=steps,
                note=notes.append,
            )
        )
        return notes

    model = Undecided().eval()
    first = told(Steps(tmp_path))
    assert len(first) == 1 and "cannot be traced" in first[0]
    assert told(Steps(tmp_path)) == first
