"""Attacking only what decides: the choice is that of the whole path, whatever its shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts
from hardy.evaluation.steps import Steps
from hardy.finetuning import deciding
from hardy.finetuning.deciding import Rule, Unjudged, decide, deciding_path
from hardy.finetuning.interpolate import Point, choose, path
from hardy.finetuning.rift import Tried, best_of
from hardy.finetuning.tune import Candidate
from hardy.threat import Linf

N = 40


def verdicts(clean: Tensor, share: float, generator: torch.Generator) -> Verdicts:
    return Verdicts(clean, clean & (torch.rand(len(clean), generator=generator) < share))


class Curve:
    """A made-up path: verdicts by alpha, and which points were attacked in which order.

    Pictures are attacked one by one in the order that is asked, and given up as the real ones.
    """

    def __init__(self, start: Point, points: list[Point], tolerance: float) -> None:
        self.start, self.points, self.tolerance = start, points, tolerance
        self.attacked: list[tuple[float, int]] = []

    def decided(self, best: int) -> tuple[list[Point], list[Unjudged]]:
        by_alpha = {point.alpha: point.verdicts for point in self.points}
        rule = Rule(self.start, self.tolerance, best)

        def attacked(alpha: float, order: Tensor) -> tuple[Verdicts, bool]:
            assert sorted(order.tolist()) == list(range(len(order)))
            clean, robust = by_alpha[alpha].clean, by_alpha[alpha].robust
            standing = clean.clone()
            for done, row in enumerate(order.tolist(), 1):
                standing[row] = robust[row]
                if int(standing.sum()) < rule.lowest and done < len(order):
                    self.attacked.append((alpha, done))
                    return Verdicts(clean, standing), True
            self.attacked.append((alpha, len(order)))
            return Verdicts(clean, robust), False

        return decide({a: v.clean for a, v in by_alpha.items()}, attacked, rule)


def random_curve(seed: int) -> Curve:
    """Rising and falling like the field's, or in no order at all; coarse, so that ties abound."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(8, generator=generator).tolist()
    wild, count, tolerance = draw[0] < 0.5, 1 + int(12 * draw[1]), [0.0, 0.001, 0.1][seed % 3]
    ease = torch.rand(N, generator=generator)
    start = Point(0.0, verdicts(ease < 0.6, 0.6, generator))
    points = []
    for i in range(1, count + 1):
        alpha = i / count
        clean = ease < (torch.rand((), generator=generator) if wild else 0.6 + 0.2 * alpha)
        points.append(Point(alpha, verdicts(clean, 0.75 - 0.5 * alpha, generator)))
    return Curve(start, points, tolerance)


@pytest.mark.parametrize("block", range(5))
def test_the_choice_is_that_of_the_whole_path(block: int) -> None:
    changed = given_up = 0
    for seed in range(80 * block, 80 * block + 80):
        curve = random_curve(seed)
        points, others = curve.decided(curve.start.clean)
        wanted = choose(curve.start, curve.points, curve.tolerance)
        found = choose(curve.start, points, curve.tolerance)
        assert (found.alpha, found.clean) == (wanted.alpha, wanted.clean), seed
        assert torch.equal(found.verdicts.robust, wanted.verdicts.robust)
        # Each alpha stands in one of the lists, and what is said of it is true.
        assert sorted([*(p.alpha for p in points), *(o.alpha for o in others)]) == [
            point.alpha for point in curve.points
        ]
        whole = {point.alpha: point for point in curve.points}
        floor = Rule(curve.start, curve.tolerance, 0).lowest
        assert all(torch.equal(o.right, whole[o.alpha].verdicts.clean) for o in others)
        assert all(whole[o.alpha].robust < floor for o in others if o.refused)
        assert all(torch.equal(p.verdicts.robust, whole[p.alpha].verdicts.robust) for p in points)
        changed += wanted is not curve.start
        given_up += any(done < N for _, done in curve.attacked)
    assert changed > 10 and given_up > 10, "a choice that is always the start shows nothing"


@pytest.mark.parametrize("seed", range(60))
def test_of_several_candidates_the_same_wins(seed: int) -> None:
    """Later ones have more to beat, so fewer of their points are attacked."""
    curves = [random_curve(7 * seed), random_curve(7 * seed + 3), random_curve(7 * seed + 6)]
    start, tolerance = curves[0].start, curves[0].tolerance
    whole = [Tried(Candidate((str(i),), 1), {}, c.points) for i, c in enumerate(curves)]
    decided: list[Tried] = []
    for i, curve in enumerate(curves):
        curve.start, curve.tolerance = start, tolerance
        best = best_of(start, decided, tolerance)[1].clean
        decided.append(Tried(Candidate((str(i),), 1), {}, *curve.decided(best)))
    one, point = best_of(start, decided, tolerance)
    other, wanted = best_of(start, whole, tolerance)
    assert (one and one.candidate, point.alpha) == (other and other.candidate, wanted.alpha)


def made(alpha: float, clean: int, robust: int) -> Point:
    return Point(alpha, Verdicts(torch.arange(N) < clean, torch.arange(N) < robust))


START = made(0.0, 20, 15)


def test_only_what_could_be_chosen_is_attacked_from_the_most_accurate_on() -> None:
    ways = [made(0.2, 22, 15), made(0.4, 26, 15), made(0.6, 30, 10), made(0.8, 28, 9)]
    curve = Curve(START, [*ways, made(1.0, 20, 20)], 0.001)
    points, others = curve.decided(20)
    assert [alpha for alpha, _ in curve.attacked] == [0.6, 0.8, 0.4]
    assert [point.alpha for point in points] == [0.4]
    assert [(o.alpha, o.clean, o.refused) for o in others] == [
        (0.2, 22, False),
        (0.6, 30, True),
        (0.8, 28, True),
        (1.0, 20, False),
    ]


def test_of_equals_the_nearest_to_the_start_is_attacked_first_and_the_other_not_at_all() -> None:
    curve = Curve(START, [made(0.3, 24, 15), made(0.6, 24, 15)], 0.001)
    assert [point.alpha for point in curve.decided(20)[0]] == [0.3]
    assert curve.attacked == [(0.3, N)]


def test_where_another_candidate_has_more_nothing_is_attacked() -> None:
    curve = Curve(START, [made(0.3, 24, 15), made(0.6, 26, 15)], 0.001)
    points, others = curve.decided(26)
    assert (points, curve.attacked) == ([], [])
    assert [(o.alpha, o.refused) for o in others] == [(0.3, False), (0.6, False)]


def test_fewer_right_than_must_stand_are_refused_without_an_attack() -> None:
    """Only with another start than that of `best`: the rule itself asks for more clean ones."""
    curve = Curve(made(0.0, 20, 15), [made(0.5, 12, 12)], 0.001)
    points, (other,) = curve.decided(10)
    assert (points, curve.attacked, other.refused) == ([], [], True)


def test_a_point_is_given_up_as_soon_as_it_cannot_be_kept() -> None:
    """15 stand at the start and 14 must: of 30 right ones the 17th broken refuses the point.
    The 25 that the start loses come first, 15 of them right here: two more are needed."""
    curve = Curve(START, [made(0.5, 30, 0), made(0.6, 29, 0)], 0.001)
    _, others = curve.decided(20)
    assert all(other.refused for other in others)
    # 10 of the first 25 are wrong already. The second time what the first attack broke leads.
    assert curve.attacked == [(0.5, 27), (0.6, 27)]


PROTOCOL = Protocol(PGD(Linf(8 / 255), steps=2), restarts=1, batch_size=16)
ALPHAS = tuple(i / 8 for i in range(1, 9))
CHECKER = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))


def pictures(count: int = 96) -> Split:
    """Two classes: one brighter than the other by more than the attacker may change, but not in
    every picture; and in every picture a pattern of less than the attacker may change."""
    labels = torch.arange(count) % 2
    sign = (2 * labels - 1).view(-1, 1, 1, 1)
    spread = 12 * torch.randn(count, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    images = (128 + 12 * sign + spread + 4 * sign * CHECKER).round().to(torch.uint8)
    return Split(images, labels, torch.arange(count), "val")


def two_networks() -> tuple[nn.Module, dict[str, Tensor]]:
    """A linear map that looks at brightness, and one that looks at the pattern: on the way clean
    accuracy rises to all, and robust accuracy, which rises first, falls to nothing."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    rows = {"ones": torch.ones(64) / 64, "checker": CHECKER.flatten() / 64}
    brightness, pattern = (20 * torch.stack([-row, row]) for row in rows.values())
    half = 20 * torch.tensor([128.25, -128.25]) / 255  # no picture lies on the border
    model.load_state_dict({"1.weight": brightness, "1.bias": half})
    return model, {"1.weight": pattern, "1.bias": torch.zeros(2)}


def test_on_a_network_the_choice_and_its_verdicts_are_those_of_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = pictures()
    model, end = two_networks()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    (start,) = path(model, {}, [0.0], split, PROTOCOL)
    whole = path(model, end, ALPHAS, split, PROTOCOL)
    assert (whole[-1].clean, whole[-1].robust) == (len(split), 0)
    chosen = set()
    for tolerance in (0.0, 0.1, 0.3):
        rule = Rule(start, tolerance, start.clean)
        steps = Steps(tmp_path / str(tolerance))
        points, others = deciding_path(model, end, ALPHAS, split, PROTOCOL, rule, steps, "one")
        wanted = choose(start, whole, tolerance)
        found = choose(start, points, tolerance)
        assert found.alpha == wanted.alpha
        chosen.add(found.alpha)
        assert torch.equal(found.verdicts.clean, wanted.verdicts.clean)
        assert torch.equal(found.verdicts.robust, wanted.verdicts.robust)
        by_alpha = {point.alpha: point for point in whole}
        assert all(torch.equal(o.right, by_alpha[o.alpha].verdicts.clean) for o in others)
        assert all(by_alpha[o.alpha].robust < rule.lowest for o in others if o.refused)
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
        with monkeypatch.context() as patch:  # all of it is kept
            patch.setattr(deciding, "judge", lambda *_: pytest.fail("attacked again"))
            patch.setattr(deciding, "rightly", lambda *_: pytest.fail("measured again"))
            again = deciding_path(model, end, ALPHAS, split, PROTOCOL, rule, steps, "one")
        assert [p.alpha for p in again[0]] == [p.alpha for p in points]
        assert [(o.alpha, o.refused) for o in again[1]] == [(o.alpha, o.refused) for o in others]
    assert len(chosen) > 1


def test_a_stop_between_two_points_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = pictures()
    model, end = two_networks()
    (start,) = path(model, {}, [0.0], split, PROTOCOL)
    rule = Rule(start, 0.0, start.clean)

    def run(steps: Steps) -> tuple[list[Point], list[Unjudged]]:
        return deciding_path(model, end, ALPHAS, split, PROTOCOL, rule, steps, "one")

    attacked: list[str] = []
    usual = deciding.judge

    def judge(*given: object) -> Verdicts:
        attacked.append(str(given[3]))
        if len(attacked) == 2:
            raise KeyboardInterrupt
        return usual(*given)  # type: ignore[arg-type]

    points, others = run(Steps())
    monkeypatch.setattr(deciding, "judge", judge)
    with pytest.raises(KeyboardInterrupt):
        run(Steps(tmp_path))
    again = run(Steps(tmp_path))
    assert attacked[1] == attacked[2] != attacked[0], "the first is not attacked again"
    assert [(o.alpha, o.refused) for o in again[1]] == [(o.alpha, o.refused) for o in others]
    for one, other in zip(again[0], points, strict=True):
        assert one.alpha == other.alpha
        assert torch.equal(one.verdicts.robust, other.verdicts.robust)
