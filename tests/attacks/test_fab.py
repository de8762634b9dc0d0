"""FAB against the known distances of linear models, and against its own contract."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from golden_net import GoldenNet
from hardy.attacks.fab import FAB
from hardy.draws import Draws
from hardy.threat import L2, Linf, Threat
from known_nets import counted

DRAWS = Draws(0, 0, torch.arange(40))
X = DRAWS.uniform((2, 3, 5), "x", torch.float64)  # pictures that are not square
W = Draws(1, 0, torch.arange(2)).normal((2, 3, 5), "w", torch.float64)
KINDS = [Linf, L2]


def two_classes(x: Tensor) -> Tensor:
    """Two logits w_k·x."""
    return torch.stack([(x * w).flatten(1).sum(1) for w in W], 1)


Y = two_classes(X).argmax(1)


def distances(kind: type[Threat]) -> Tensor:
    """How far the boundary of the linear model is inside the box, by bisection over the length r
    of clip(x + r direction): in both norms the nearest points are of this shape."""
    normal = (W[1] - W[0]) * torch.where(Y == 0, 1.0, -1.0).view(-1, 1, 1, 1)
    direction = kind(1).steepest(normal)
    low, high = torch.zeros(len(X)).double(), torch.full((len(X),), 100.0).double()
    nearest = X
    for _ in range(100):
        r = (low + high) / 2
        nearest = (X + r.view(-1, 1, 1, 1) * direction).clamp(0, 1)
        short = two_classes(nearest).argmax(1) == Y
        low, high = torch.where(short, r, low), torch.where(short, high, r)
    return kind(1).distance(nearest, X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_model_breaks_exactly_within_its_distance(kind: type[Threat]) -> None:
    """Whatever the overshoot of 5 %: what it carries out of the ball is judged inside."""
    near = distances(kind)
    for eps in near.quantile(torch.tensor([0.2, 0.5, 0.8]).double()).tolist():
        for steps in (1, 100) if kind is Linf else (100,):  # in L2 walls take steps
            found = FAB(kind(eps), steps=steps).search(two_classes, X, Y, DRAWS)
            assert not found.broken[near > eps * (1 + 1e-5)].any(), "beyond reach"
            assert found.broken[near < eps * (1 - 1e-5)].all()
            assert (kind(eps).distance(found.x_adv, X) <= eps + 1e-9).all()
            wrong = two_classes(found.x_adv).argmax(1) != Y
            assert torch.equal(wrong, found.broken)
            assert torch.equal(found.x_adv[~wrong], X[~wrong])


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_the_projection_with_overshoot(kind: type[Threat]) -> None:
    """Both projections start at the picture, so x_1 = x + 1.05 delta whatever alpha is."""
    seen: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return two_classes(x)

    inner = 0.4 + 0.2 * X  # few walls are near
    y = two_classes(inner).argmax(1)
    FAB(kind(1e-4), steps=1).search(forward, inner, y, DRAWS)
    logits, (normal,) = two_classes(inner), (W[1:] - W[:1])
    f = logits[:, 1] - logits[:, 0]
    if kind is Linf:
        delta = -(f / normal.abs().sum()).view(-1, 1, 1, 1) * normal.sign()
    else:
        delta = -(f / normal.square().sum()).view(-1, 1, 1, 1) * normal
    assert len(seen) == 2
    expected = (inner + 1.05 * delta).clamp(0, 1)
    moderate = (1.05 * delta).abs().flatten(1).amax(1) < 0.4
    assert moderate.sum() > 10
    torch.testing.assert_close(seen[1][moderate], expected[moderate], rtol=0, atol=1e-9)


def test_the_second_step_by_hand() -> None:
    """One pixel, logits (0, s): s = x - .5 left of the boundary and 2 (x - .5) right of it. From
    .2: the first step goes to .2 + 1.05 · .3 = .515. There s = .03 and the slope is 2; the way
    back ends at .2 + .9 · .315 = .4835, where the line is at -.033: .0165 from its root .5, as
    the picture is .3 from it. alpha = .0165/.3165 = .0521, so x_2 = (1 - alpha) (.4835 + 1.05 ·
    .0165) + alpha · .515."""
    seen: list[float] = []

    def bent(x: Tensor) -> Tensor:
        seen.append(x.item())
        s = (x - 0.5).flatten()
        return torch.stack([torch.zeros_like(s), torch.where(s > 0, 2 * s, s)], 1)

    x, y = torch.full((1, 1, 1, 1), 0.2).double(), torch.tensor([0])
    FAB(Linf(0.01), steps=2).search(bent, x, y, DRAWS.take(slice(1)))
    alpha = 0.0165 / 0.3165
    assert seen == pytest.approx(
        [0.2, 0.515, (1 - alpha) * (0.4835 + 1.05 * 0.0165) + alpha * 0.515], abs=1e-7
    )


def pixels(x: Tensor) -> Tensor:
    """Four classes, the class k reads pixel k alone."""
    return x.flatten(1)


def test_the_target_is_a_class_by_its_rank() -> None:
    """To the runner-up from .9: half of the gap in Linf, each pixel; the others want more."""
    x = torch.tensor([0.9, 0.1, 0.7, 0.4]).double().view(1, 1, 2, 2)
    y, draws = torch.tensor([0]), DRAWS.take(slice(1))
    for target, gap in ((1, 0.2), (2, 0.5), (3, 0.8)):
        for factor, breaks in ((1.06, True), (0.99, False)):
            attack = FAB(Linf(gap / 2 * factor), target=target, steps=1)
            assert attack.search(pixels, x, y, draws).broken.item() is breaks
    with pytest.raises(ValueError, match=r"no wrong class of rank 4: with 4 classes give 1 to 3"):
        FAB(Linf(0.1), target=4).search(pixels, x, y, draws)


def test_the_active_set_shrinks_and_a_step_is_one_pass() -> None:
    eps = float(distances(Linf).median())
    forward, sizes = counted(two_classes)
    found = FAB(Linf(eps), steps=7, eta=1.0).search(forward, X, Y, DRAWS)
    assert sizes[0] == 40 and sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 8 and 40 - sizes[-1] <= int(found.broken.sum())
    forward, sizes = counted(two_classes)
    assert FAB(Linf(1.0)).search(forward, X, Y, DRAWS).broken.all()
    assert len(sizes) == 2, "all broken at once: nothing is left to do"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_is_a_row_of_the_batch(kind: type[Threat]) -> None:
    torch.manual_seed(0)
    net, rows = GoldenNet().double().eval(), torch.tensor([7, 2])
    x = Draws(2, 0, torch.arange(12)).uniform((3, 8, 8), "x", torch.float64)
    draws = Draws(0, 0, torch.arange(12))
    y = net(x).argmax(1)
    eps = {Linf: 0.09, L2: 0.9}[kind]
    whole = FAB(kind(eps), steps=6).search(net, x, y, draws)
    assert 0 < whole.broken.sum() < 12
    assert all(parameter.grad is None for parameter in net.parameters())
    for some in (rows, rows[:1]):
        part = FAB(kind(eps), steps=6).search(net, x[some], y[some], draws.take(some))
        torch.testing.assert_close(part.x_adv, whole.x_adv[some], rtol=0, atol=1e-9)
        assert torch.equal(part.broken, whole.broken[some])
    again = FAB(kind(eps), steps=6).search(net, x, y, draws)
    assert torch.equal(again.x_adv, whole.x_adv)


def test_the_judge_decides() -> None:
    attack = FAB(Linf(1.0), steps=3)
    found = attack.search(two_classes, X, Y, DRAWS, judge=_always_first)
    assert torch.equal(found.broken, Y != 0)
    nothing = attack.search(two_classes, X[Y == 0], Y[Y == 0], DRAWS, judge=_always_first)
    assert not nothing.broken.any() and torch.equal(nothing.x_adv, X[Y == 0])


def _always_first(x: Tensor) -> Tensor:
    return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)


def test_without_a_gradient_nothing_breaks() -> None:
    found = FAB(L2(1.0), steps=3).search(
        lambda x: two_classes(X[: len(x)]) + 0 * two_classes(x), X, Y, DRAWS
    )
    assert not found.broken.any() and torch.equal(found.x_adv, X)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    """On the picture, and anywhere else."""
    for forward in (
        lambda x: two_classes(x) * bad,
        lambda x: torch.where((x == X[: len(x)]).all(), two_classes(x), bad),
    ):
        with pytest.raises(ValueError, match="NaN or infinite logits"):
            FAB(Linf(0.3), steps=3).search(forward, X, Y, DRAWS)


def test_pictures_already_wrong_and_half_precision() -> None:
    found = FAB(Linf(0.1)).search(two_classes, X, 1 - Y, DRAWS)
    assert found.broken.all() and torch.equal(found.x_adv, X)
    eps = float(distances(Linf).median())

    def half(x: Tensor) -> Tensor:
        return two_classes(x).bfloat16()

    coarse = FAB(Linf(eps), steps=20).search(half, X, Y, DRAWS, judge=two_classes)
    assert torch.equal(two_classes(coarse.x_adv).argmax(1) != Y, coarse.broken)
    assert not coarse.broken[distances(Linf) > eps * (1 + 1e-5)].any()
    assert coarse.broken.sum() >= 15


def test_repr_and_setting_say_everything() -> None:
    attack = FAB(Linf(8 / 255), target=3, steps=50, alpha_max=0.2, eta=1.1, beta=0.8)
    assert repr(attack) == "FAB-T-50(Linf(eps=8/255), target=3, alpha_max=0.2, eta=1.1, beta=0.8)"
    assert attack.setting == {
        "attack": "FAB-T",
        "norm": "linf",
        "eps": 8 / 255,
        "steps": 50,
        "target": 3,
        "alpha_max": 0.2,
        "eta": 1.1,
        "beta": 0.8,
    }


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"steps": 0}, "^steps and target must be at least 1, not 0 and 1$"),
        ({"target": 0}, "^steps and target must be at least 1, not 100 and 0$"),
        ({"alpha_max": 1.5}, r"^alpha_max must be in \[0, 1\], .*not 1.5, 0.9 and 1.05$"),
        ({"eta": 0.9}, "eta at least 1, not 0.1, 0.9 and 0.9$"),
        ({"beta": 0.0}, r"beta in \(0, 1\]"),
    ],
)
def test_settings_out_of_range_are_errors(wrong: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FAB(Linf(0.1), **wrong)  # type: ignore[arg-type]
