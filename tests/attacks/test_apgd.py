"""Auto-PGD: where its optimum is known, the rule of its step size by hand, and its ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hardy.attacks.apgd import APGD, State
from hardy.attacks.fab import FAB
from hardy.attacks.pgd import PGD
from hardy.attacks.search import Active, Attack, target_class
from hardy.draws import Draws
from hardy.losses import cross_entropy, difference, dlr, dlr_towards, margin
from hardy.threat import L2, Linf, Threat

N, K = 48, 5


def pictures(count: int = N) -> tuple[Tensor, Draws]:
    draws = Draws(0, 0, torch.arange(count))
    return draws.uniform((2, 3, 3), "pictures", torch.float64).mul(0.4).add(0.3), draws


class Linear:
    """Logits W x: how far the nearest boundary is can be written down."""

    def __init__(self, classes: int = K, scale: float = 1.0) -> None:
        rows = Draws(1, 0, torch.arange(classes))
        weight = rows.normal((2, 3, 3), "weights", torch.float64)
        # Without a mean, so that all classes occur and their boundaries are near.
        self.weight = scale * (weight - weight.mean((1, 2, 3), keepdim=True))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight.to(x.dtype))

    def distances(self, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
        """To each wrong class's boundary, (B, K); pictures far enough from the box's walls."""
        apart = (self.weight[y][:, None] - self.weight).flatten(2)
        norm = apart.abs().sum(2) if isinstance(threat, Linf) else apart.norm(dim=2)
        logits = self(x)
        found = (logits.gather(1, y[:, None]) - logits) / norm
        return found.scatter(1, y[:, None], float("inf"))


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize(("loss", "classes"), [("dlr-t", K), ("ce", 2), ("ce-t", 2)])
def test_a_linear_network_is_broken_exactly_where_a_boundary_is_near(
    kind: type[Threat], loss: str, classes: int
) -> None:
    """Over all targets; with two classes every loss leads to the only boundary."""
    x, draws = pictures()
    net = Linear(classes)
    y = net(x).argmax(1)
    near = net.distances(x, y, kind(1)).amin(1)
    eps = float(near.median())
    broken = torch.zeros(N, dtype=torch.bool)
    for target in range(1, classes):
        attack = APGD(kind(eps), steps=60, loss=loss, target=target)  # type: ignore[arg-type]
        broken |= attack.search(net, x, y, draws).broken
    assert broken[near < 0.98 * eps].all() and not broken[near > eps * (1 + 1e-9)].any()


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_nobody_is_broken_from_beyond_the_boundary(kind: type[Threat], loss: str) -> None:
    """Of many classes the loss does not always lead to the nearest one, but mostly."""
    x, draws = pictures()
    net = Linear()
    y = net(x).argmax(1)
    near = net.distances(x, y, kind(1)).amin(1)
    eps = float(near.median())
    found = APGD(kind(eps), steps=50, loss=loss).search(net, x, y, draws)  # type: ignore[arg-type]
    assert not found.broken[near > eps * (1 + 1e-9)].any()
    assert found.broken[near < eps].double().mean() > 0.6


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.15)], ids=repr)
def test_what_is_found_is_in_the_ball_and_the_rest_is_the_picture(threat: Threat) -> None:
    x, draws = pictures()
    net = Linear()
    y = net(x).argmax(1)
    found = APGD(threat, steps=20).search(net, x, y, draws)
    assert 0 < found.broken.sum() < N
    assert (threat.distance(found.x_adv, x) <= threat.eps * (1 + 1e-9)).all()
    assert found.x_adv.min() >= 0 and found.x_adv.max() <= 1
    assert torch.equal(net(found.x_adv).argmax(1) != y, found.broken)
    assert torch.equal(found.x_adv[~found.broken], x[~found.broken])


def test_an_example_is_attacked_alike_in_any_company() -> None:
    x, draws = pictures()
    net = Linear(scale=3)

    def rugged(z: Tensor) -> Tensor:
        return net(z) + (9 * net(z)).sin()

    y = rugged(x).argmax(1)
    attack = APGD(Linf(0.04), steps=30)
    whole = attack.search(rugged, x, y, draws)
    assert 0 < whole.broken.sum() < N
    for rows in (torch.tensor([7]), torch.arange(0, N, 3)):
        part = attack.search(rugged, x[rows], y[rows], draws.take(rows))
        assert torch.equal(part.broken, whole.broken[rows])
        torch.testing.assert_close(part.x_adv, whole.x_adv[rows], rtol=0, atol=1e-9)
    other = attack.search(rugged, x, y, replace(draws, restart=1))
    assert not torch.equal(other.x_adv, whole.x_adv)


def test_the_judge_has_the_last_word() -> None:
    x, draws = pictures()
    net = Linear()
    y = net(x).argmax(1)
    attack = APGD(Linf(0.05), steps=10)
    assert attack.search(net, x, y, draws).broken.any()
    denies = {tuple(row.tolist()): int(label) for row, label in zip(x.flatten(1), y, strict=True)}
    seen = 0

    def gullible(z: Tensor) -> Tensor:
        nonlocal seen
        seen += len(z)
        nearest = torch.cdist(z.flatten(1), x.flatten(1)).argmin(1)
        return torch.nn.functional.one_hot(y[nearest], K)

    assert len(denies) == N
    assert not attack.search(net, x, y, draws, gullible).broken.any() and seen


def test_the_judge_looks_where_a_coarse_search_saw_nothing() -> None:
    """A forward whose logits tie everybody right, and a judge that knows better at the end."""
    x, draws = pictures()
    net = Linear()
    y = net(x).argmax(1)

    def blind(z: Tensor) -> Tensor:  # the gradient of the network, the prediction always right
        logits = net(z)
        return logits - logits.detach() + torch.nn.functional.one_hot(y, K)

    attack = APGD(Linf(0.05), steps=10)
    assert not attack.search(blind, x, y, draws).broken.any()
    assert attack.search(blind, x, y, draws, net).broken.any()


def a_state(losses: list[float]) -> State:
    f = torch.tensor(losses)
    x = torch.zeros(len(losses), 1, 1, 1)
    return State(x, x, x, f, torch.zeros(len(losses), dtype=torch.int64), eps=0.5)


def moved(state: State, losses: list[float]) -> None:
    f = torch.tensor(losses)
    state.moved(f.view(-1, 1, 1, 1), f, -f.view(-1, 1, 1, 1))


def test_the_step_is_halved_by_the_two_conditions_of_the_paper() -> None:
    """Rows: rises in three of four steps; in one of four; never better than its start."""
    state = a_state([0, 0, 9])
    for losses in ([1, -1, 0], [2, -2, 1], [1, 3, 2], [4, 2, 3]):
        moved(state, losses)
    assert state.best.tolist() == [4, 3, 9]
    state.check(enough=0.75 * 3)
    assert state.step.flatten().tolist() == [1, 0.5, 1]
    assert state.halved.tolist() == [False, True, False]
    assert state.x_adv.flatten().tolist() == [4, 3, 3], "the second is back at its best"
    assert state.grad.flatten().tolist() == [-4, -3, -3]
    for losses in ([5, 2, 4], [6, 3, 5], [7, 4, 6]):
        moved(state, losses)
    state.check(enough=2)
    # The third's best has not moved since the last check, at which its step was kept.
    assert state.step.flatten().tolist() == [1, 0.25, 0.5]
    assert state.x_adv.flatten().tolist() == [7, 4, 0], "its best was the start"


def test_checkpoints_are_those_of_the_paper() -> None:
    attack, found, last = APGD(Linf(0.1)), [], (0, None)
    while last[0] < 100:
        last = attack._periods(*last)
        found.append(last[0])
    # 22, then 19, 16, 13, 10, 7 and from there 6 steps each
    assert found == [22, 41, 57, 70, 80, 87, 93, 99, 105]


def test_losses_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0], [0.0, 2.0, 4.0, 1.0]])
    y, target = torch.tensor([0, 1]), torch.tensor([2, 3])
    # (1 - 3) / (3 - 0.5); (4 - 2) / (4 - 1)
    assert dlr(logits, y).tolist() == pytest.approx([-2 / 2.5, 2 / 3])
    # (0.5 - 3) / (3 - (0.5 - 1) / 2); (1 - 2) / (4 - (1 + 0) / 2)
    assert dlr_towards(logits, y, target).tolist() == pytest.approx([-2.5 / 3.25, -1 / 3.5])
    assert difference(logits, y, target).tolist() == [-2.5, -1]
    assert torch.equal(dlr(5 * logits + 3, y) > 0, margin(logits, y) > 0)
    assert dlr(5 * logits + 3, y).tolist() == pytest.approx(dlr(logits, y).tolist())
    assert target_class(logits, y, 1).tolist() == [1, 2]
    assert target_class(logits, y, 3).tolist() == [3, 0]


def test_a_network_that_draws_random_numbers_is_averaged_over() -> None:
    """The sign of one noisy gradient is a coin; that of the mean of many is right."""
    x, _ = pictures()
    net = Linear()
    y = net(x).argmax(1)
    generator = torch.Generator().manual_seed(0)

    def noisy(z: Tensor) -> Tensor:
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        return net(z) + 6 * (noise * (z - z.detach())).flatten(1).sum(1, keepdim=True).mul(
            torch.nn.functional.one_hot(y[: len(z)], K)
        )

    threat = Linf(0.02)
    x_one, x_many = (
        APGD(threat, steps=1, eot=eot)._gradient(noisy, x, y, y)[2] for eot in (1, 400)
    )
    exact = torch.autograd.grad(cross_entropy(net(z := x.clone().requires_grad_()), y).sum(), z)[0]
    agree = [(g.sign() == exact.sign()).double().mean() for g in (x_one, x_many)]
    assert agree[0] < 0.75 < 0.85 < agree[1]


def test_luck_breaks_nobody_in_a_network_that_draws_random_numbers() -> None:
    """Whatever the picture, one pass in ten says the other class: two hundred looks would each
    time find one, the mean of twenty hardly ever does. One that is truly broken is found."""
    x, draws = pictures()
    net = Linear(2)
    y = net(x).argmax(1)
    near = net.distances(x, y, Linf(1)).amin(1)
    generator = torch.Generator().manual_seed(0)

    def moody(z: Tensor) -> Tensor:
        logits = net(z) / net(z).abs().amax(1, keepdim=True).detach()
        wrong = torch.rand(len(z), 1, generator=generator) < 0.1
        return torch.where(wrong, logits.flip(1), logits)

    eps = float(near.median())
    found = APGD(Linf(eps), steps=40, eot=20).search(moody, x, y, draws)
    assert not found.broken[near > 1.01 * eps].any()
    assert found.broken[near < 0.9 * eps].double().mean() > 0.9
    alone = APGD(Linf(eps), steps=40).search(moody, x, y, draws)
    assert alone.broken[near > 1.01 * eps].double().mean() > 0.9, "single looks do it by luck"


@pytest.mark.parametrize("attack", [APGD(Linf(0.1)), PGD(Linf(0.1)), FAB(Linf(0.1))], ids=repr)
@pytest.mark.parametrize("trained", [False, True])
def test_a_network_without_a_gradient_is_refused_in_a_line(attack: Attack, trained: bool) -> None:
    x, draws = pictures(4)
    net, weight = Linear(4), torch.ones(4, dtype=torch.float64, requires_grad=trained)

    def rounded(z: Tensor) -> Tensor:
        return net(z.detach().round()) * weight

    y = net(x.round()).argmax(1)
    with pytest.raises(ValueError, match=r"no gradient to its input.*--attack square"):
        attack.search(rounded, x, y, draws)


def test_what_no_attack_can_follow_is_refused() -> None:
    x, draws = pictures(4)
    y = torch.zeros(4, dtype=torch.int64)
    two = Linear(2)
    with pytest.raises(ValueError, match="needs 3 classes, not 2"):
        APGD(Linf(0.1), loss="dlr").search(two, x, y, draws)
    with pytest.raises(ValueError, match="no wrong class of rank 2"):
        APGD(Linf(0.1), loss="ce-t", target=2).search(two, x, y, draws)
    with pytest.raises(ValueError, match="NaN"):
        APGD(Linf(0.1)).search(lambda z: two(z) * float("nan"), x, y, draws)

    calls = 0

    def later(z: Tensor) -> Tensor:
        """NaN from the third look on: it must not pass for a misclassification."""
        nonlocal calls
        calls += 1
        return two(z) * (1.0 if calls < 3 else float("nan"))

    with pytest.raises(ValueError, match="NaN"):
        APGD(Linf(1e-6), steps=5).search(later, x, two(x).argmax(1), draws)
    with pytest.raises(ValueError, match="NaN"):
        PGD(Linf(0.1)).search(lambda z: two(z) * float("nan"), x, y, draws)
    with pytest.raises(ValueError, match="one of ce"):
        APGD(Linf(0.1), loss="kl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        APGD(Linf(0.1), steps=0)


def test_points_outside_the_ball_do_not_count() -> None:
    x = torch.zeros(3, 1, 1, 1)
    active = Active(x, torch.zeros(3, dtype=torch.int64))
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    keep = active.note(x + 1, logits, allowed=torch.tensor([True, False, True]))
    assert keep is not None and keep.tolist() == [1, 2] == active.rows.tolist()
    assert active.found.broken.tolist() == [True, False, False]
    assert active.found.x_adv.flatten().tolist() == [1, 0, 0]
    assert active.note(x[1:] + 2, torch.tensor([[1.0, 0.0], [1.0, 0.0]])) is None


def test_the_repr_is_the_setting() -> None:
    attack = APGD(Linf(8 / 255), loss="dlr-t", target=3)
    assert repr(attack) == "APGD-100(Linf(eps=8/255), dlr-t 3, rho=0.75)"
    assert attack.setting["attack"] == "APGD-T" and attack.setting["norm"] == "linf"
    assert APGD(L2(1), loss="dlr", eot=20).setting["attack"] == "APGD-DLR"
