"""MI-FGSM against steps worked by hand, linear models' optima, and I-FGSM without momentum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hardy.attacks.mi_fgsm import MIFGSM, with_momentum
from hardy.attacks.pgd import PGD
from hardy.draws import Draws
from hardy.losses import cross_entropy, margin
from hardy.threat import L2, Linf, Threat, unit

EPS = 0.05
DRAWS = Draws(seed=0, epoch=0, index=torch.arange(6))
X = 0.3 + 0.4 * DRAWS.uniform((1, 4, 4), "x", torch.float64)
Y = torch.tensor([0, 1, 2, 2, 1, 0])
W = Draws(1, 0, torch.tensor([0])).normal((3, 16), "w", torch.float64)[0]


def linear(x: Tensor) -> Tensor:
    """Logits W x of three classes."""
    return x.flatten(1) @ W.T.to(x.dtype)


def two_classes(x: Tensor) -> Tensor:
    """Logits (0, w·x)."""
    score = x.flatten(1) @ W[0].to(x.dtype)
    return torch.stack([torch.zeros_like(score), score], 1)


def curved(x: Tensor) -> Tensor:
    """Logits of three classes that bend: the gradient turns on the way."""
    return linear(torch.sin(9 * x))


def pixels(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def test_two_steps_on_a_quadratic_by_hand() -> None:
    """Ascent on (x1 - 0.46)^2 + 0.5 x2 from (0.5, 0.5), steps of 0.1.

    Gradient (0.08, 0.5), over its l1 length 0.58: g1 = (0.1379, 0.8621). In linf: to (0.6, 0.6),
    gradient (0.28, 0.5), over 0.78: (0.3590, 0.6410), g2 = g1 + that = (0.4969, 1.5031), to
    (0.7, 0.7). In l2 the first step is 0.1 g1 / |g1|, with |g1| = 0.8730.
    """
    x = pixels(0.5, 0.5)

    def objective(z: Tensor) -> Tensor:
        return (z[:, 0, 0, 0] - 0.46) ** 2 + 0.5 * z[:, 0, 0, 1]

    found = MIFGSM(Linf(0.3), steps=2, step_size=0.1).ascend(objective, x)
    torch.testing.assert_close(found, pixels(0.7, 0.7))
    g1 = torch.tensor([0.08, 0.5], dtype=torch.float64) / 0.58
    first = 0.5 + 0.1 * g1 / g1.norm()
    grad = torch.stack([2 * (first[0] - 0.46), torch.tensor(0.5, dtype=torch.float64)])
    g2 = g1 + grad / grad.sum()
    second = first + 0.1 * g2 / g2.norm()
    found = MIFGSM(L2(0.3), steps=2, step_size=0.1).ascend(objective, x)
    torch.testing.assert_close(found, second.view(1, 1, 1, 2))


def test_momentum_goes_on_where_the_gradient_turns_back() -> None:
    """The gradients are (+2, +1), then (-1, +1): scaled (2/3, 1/3) and (-1/2, 1/2). With mu = 1
    the sum is (1/6, 5/6) and the first pixel rises again; with mu = 0.5 it is (-1/6, 2/3) and it
    falls back."""
    grads = [pixels(2, 1), pixels(-1, 1)]
    for mu, expected in ((1.0, (1 / 6, 5 / 6)), (0.5, (-1 / 6, 2 / 3))):
        along = with_momentum(mu)
        _, last = (along(grad) for grad in grads)
        torch.testing.assert_close(last, pixels(*expected))

    def objective(z: Tensor) -> Tensor:  # 2 x1 up to 0.55, then -x1; x2 in any case
        slope = torch.where(z[:, 0, 0, 0] < 0.55, 2.0, -1.0).detach()
        return slope * z[:, 0, 0, 0] + z[:, 0, 0, 1]

    x = pixels(0.5, 0.5)
    found = [
        MIFGSM(Linf(0.3), steps=2, step_size=0.1, momentum=mu).ascend(objective, x)
        for mu in (1.0, 0.5)
    ]
    torch.testing.assert_close(found[0], pixels(0.7, 0.7))
    torch.testing.assert_close(found[1], pixels(0.5, 0.7))


@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.2)], ids=repr)
def test_a_linear_model_is_attacked_optimally(threat: Threat) -> None:
    """Steps of eps / steps along one direction end on the border of the ball."""
    x_adv = MIFGSM(threat)(two_classes, X, (Y > 0).long(), DRAWS)
    uphill = torch.where(Y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * W[0].view(1, 1, 4, 4)
    step = uphill.sign() if isinstance(threat, Linf) else uphill / W[0].norm()
    torch.testing.assert_close(x_adv, X + threat.eps * step, rtol=0, atol=1e-9)


def test_towards_a_target_a_linear_margin_rises_as_far_as_it_can() -> None:
    """Of two classes the loss of the target falls along the difference of their weights."""
    target = (Y == 0).long()
    for attack in (MIFGSM(Linf(EPS)), PGD(Linf(EPS), steps=10)):
        x_adv = attack.towards(two_classes, X, target, DRAWS)
        way = torch.where(target == 1, 1.0, -1.0).view(-1, 1, 1, 1) * W[0].view(1, 1, 4, 4)
        torch.testing.assert_close(x_adv, X + EPS * way.sign(), rtol=0, atol=1e-9)


def test_towards_the_own_class_is_the_attack_turned_round() -> None:
    """Descent on the own class's loss: with a single step the mirror image of FGSM."""
    x_adv = MIFGSM(Linf(EPS), steps=1)(curved, X, Y, DRAWS)
    back = MIFGSM(Linf(EPS), steps=1).towards(curved, X, Y, DRAWS)
    torch.testing.assert_close(back - X, X - x_adv, rtol=0, atol=1e-12)
    assert (cross_entropy(curved(back), Y) < cross_entropy(curved(X), Y)).all()


def test_without_momentum_it_is_i_fgsm_to_the_bit() -> None:
    x, step = X.float(), EPS / 10
    plain = PGD(Linf(EPS), steps=10, step_size=step, random_start=False)
    assert torch.equal(
        MIFGSM(Linf(EPS), momentum=0.0)(curved, x, Y, DRAWS), plain(curved, x, Y, DRAWS)
    )
    # And with it it is another attack, so that the comparison says something.
    assert not torch.equal(MIFGSM(Linf(EPS))(curved, x, Y, DRAWS), plain(curved, x, Y, DRAWS))


def test_the_scale_of_the_loss_changes_nothing_down_to_tiny_gradients() -> None:
    """Each gradient is scaled before it is added: 2**-80 of the loss moves as the loss does,
    though the squares of its gradients vanish in float32."""
    x = X.float()
    attack = MIFGSM(L2(0.2), loss=lambda logits, y: 2.0**-80 * margin(logits, y))
    expected = MIFGSM(L2(0.2), loss=margin)(curved, x, Y, DRAWS)
    assert torch.equal(attack(curved, x, Y, DRAWS), expected)
    assert (unit(torch.zeros(2, 1, 2, 2), 1) == 0).all()


def test_each_example_keeps_its_own_momentum() -> None:
    """What is attacked beside it changes nothing but the rounding of a product."""
    rows = torch.tensor([4, 1])
    whole = MIFGSM(Linf(EPS))(curved, X, Y, DRAWS)
    part = MIFGSM(Linf(EPS))(curved, X[rows], Y[rows], DRAWS.take(rows))
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-12)


def test_a_search_finds_what_is_misclassified_at_the_last_iterate() -> None:
    y = linear(X).argmax(1)
    attack = MIFGSM(Linf(0.3))
    x_adv = attack(linear, X, y, DRAWS)
    found = attack.search(linear, X, y, DRAWS)
    assert torch.equal(found.broken, linear(x_adv).argmax(1) != y) and found.broken.any()
    assert torch.equal(found.x_adv[found.broken], x_adv[found.broken])
    assert torch.equal(found.x_adv[~found.broken], X[~found.broken])
    assert (attack.threat.distance(x_adv, X) <= 0.3 + 1e-9).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1


def test_what_it_says_of_itself() -> None:
    attack = MIFGSM(Linf(8 / 255))
    assert attack.step == pytest.approx(0.8 / 255)
    assert attack.setting == {
        "attack": "MI-FGSM",
        "norm": "linf",
        "eps": 8 / 255,
        "steps": 10,
        "step_size": attack.step,
        "momentum": 1.0,
    }
    printed = "MI-FGSM-10(Linf(eps=8/255), step=0.00313725, momentum=1, cross_entropy)"
    assert repr(attack) == printed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"momentum": -0.1}, "momentum must not be negative"),
        ({"momentum": float("nan")}, "momentum must not be negative"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MIFGSM(Linf(EPS), **wrong)  # type: ignore[arg-type]
