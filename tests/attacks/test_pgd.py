"""PGD against closed-form optima of linear models and against its own contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from golden_net import GoldenNet, golden_file, golden_net
from hardy.attacks.pgd import PGD
from hardy.draws import Draws
from hardy.losses import cross_entropy, kl_divergence, margin
from hardy.modes import Forward, evaluating
from hardy.threat import L2, Linf, Threat

EPS = 0.03
DRAWS = Draws(seed=0, epoch=0, index=torch.arange(6))
# Half-way grey pictures: no ball of radius 0.03 leaves the box.
X = 0.3 + 0.4 * DRAWS.uniform((1, 4, 4), "x", torch.float64)
Y = torch.tensor([0, 1, 0, 1, 1, 0])
W = Draws(1, 0, torch.tensor([0])).normal((1, 4, 4), "w", torch.float64)[0]


def two_classes(x: Tensor) -> Tensor:
    """Logits (0, w·x): the cross-entropy of class 0 is softplus(w·x), of class 1 of -w·x."""
    score = (x * W).flatten(1).sum(1)
    return torch.stack([torch.zeros_like(score), score], 1)


def uphill() -> Tensor:
    """The direction that raises the loss: +w where the label is 0, -w where it is 1."""
    return torch.where(Y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * W


def optimum(threat: Threat) -> Tensor:
    """The worst point of the ball for a linear model (Goodfellow et al. 2015, section 3)."""
    step = uphill().sign() if isinstance(threat, Linf) else uphill() / W.norm()
    return X + threat.eps * step


@pytest.mark.parametrize(
    "attack",
    [
        PGD(Linf(EPS), steps=10),
        PGD(Linf(EPS), steps=10, loss=margin),
        PGD(Linf(EPS), steps=1, step_size=EPS, random_start=False),  # FGSM
        PGD(Linf(EPS), steps=1, step_size=2 * EPS),
        PGD(L2(0.1), steps=10, random_start=False),
        PGD(L2(0.1), steps=1, step_size=0.1, random_start=False),
        PGD(L2(0.1), steps=30, step_size=0.1),  # a random start's offset halves in each step
    ],
    ids=repr,
)
def test_a_linear_model_is_attacked_optimally(attack: PGD) -> None:
    x_adv = attack(two_classes, X, Y, DRAWS)
    torch.testing.assert_close(x_adv, optimum(attack.threat), rtol=0, atol=1e-6)
    dual_norm = W.abs().sum() if isinstance(attack.threat, Linf) else W.norm()
    worst = margin(two_classes(X), Y) + attack.threat.eps * dual_norm
    torch.testing.assert_close(cross_entropy(two_classes(x_adv), Y), worst.exp().log1p())


def test_at_the_edge_of_the_box_the_optimum_is_clipped() -> None:
    x = torch.zeros_like(X)
    x_adv = PGD(Linf(EPS), steps=10)(two_classes, x, Y, DRAWS)
    torch.testing.assert_close(x_adv, (EPS * uphill().sign()).clamp(min=0), rtol=0, atol=1e-9)


def test_ten_classes_with_the_margin_loss() -> None:
    """Class k reads pixel k alone: the worst case lowers the own pixel, raises that of the
    runner-up, and leaves the other eight where they are."""
    x = 0.3 + 0.4 * DRAWS.uniform((1, 2, 5), "ten", torch.float64)
    y = torch.tensor([0, 3, 9, 4, 4, 7])
    found = PGD(Linf(EPS), steps=10, loss=margin, random_start=False)(
        lambda z: z.flatten(1), x, y, DRAWS
    )
    logits, expected = x.flatten(1), x.flatten(1).clone()
    runner_up = logits.scatter(1, y[:, None], -1).argmax(1)
    rows = torch.arange(6)
    expected[rows, y] -= EPS
    expected[rows, runner_up] += EPS
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(margin(found.flatten(1), y), margin(logits, y) + 2 * EPS)


def test_no_gradient_means_no_step() -> None:
    for threat in (Linf(EPS), L2(EPS)):
        attack = PGD(threat, steps=3, random_start=False)
        assert torch.equal(attack(lambda z: 0 * z.flatten(1), X, Y, DRAWS), X)


@given(
    eps=st.floats(1e-3, 2),
    kind=st.sampled_from([Linf, L2]),
    steps=st.integers(1, 4),
    step_size=st.none() | st.floats(1e-4, 10),
    random_start=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_x_adv_is_inside_ball_and_box(
    eps: float, kind: type[Threat], steps: int, step_size: float | None, random_start: bool
) -> None:
    x, threat = X.float(), kind(eps)
    x_adv = PGD(threat, steps, step_size, random_start)(lopsided, x, Y, DRAWS)
    assert (threat.distance(x_adv, x) <= eps + 1e-6).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert x_adv.dtype == x.dtype and not x_adv.requires_grad


def lopsided(x: Tensor) -> Tensor:
    """A curved model of elementwise operations, whose rows know nothing of each other."""
    return torch.stack([(4 * (x - c)).tanh().flatten(1).sum(1) for c in (0.3, 0.5, 0.6)], 1)


@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.3)], ids=repr)
def test_attacking_some_rows_is_attacking_them_in_the_whole_batch(threat: Threat) -> None:
    attack, rows = PGD(threat, steps=5), torch.tensor([3, 1])
    whole = attack(lopsided, X.float(), Y, DRAWS)
    part = attack(lopsided, X.float()[rows], Y[rows], DRAWS.take(rows))
    assert torch.equal(part, whole[rows])
    other = attack(lopsided, X.float(), Y, replace(DRAWS, restart=1))
    assert not (other == whole).flatten(1).all(1).any()


def test_attacking_some_rows_through_convolutions() -> None:
    torch.manual_seed(0)
    net, rows = GoldenNet().double().eval(), torch.tensor([5, 0])
    x = DRAWS.uniform((3, 8, 8), "x", torch.float64)
    whole = PGD(L2(0.5), steps=5)(net, x, Y, DRAWS)
    part = PGD(L2(0.5), steps=5)(net, x[rows], Y[rows], DRAWS.take(rows))
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_modes_parameters_and_gradients_stay_as_they_were(training: bool) -> None:
    net = GoldenNet().train(training)
    net.bn1.train(not training)
    net.conv2.weight.requires_grad_(False)
    net.linear.bias.grad = torch.ones(10)
    modes = [m.training for m in net.modules()]
    weights = {name: p.clone() for name, p in net.named_parameters()}
    x = DRAWS.uniform((3, 8, 8), "x").requires_grad_()
    PGD(Linf(EPS), steps=2)(net, x, Y, DRAWS)
    assert [m.training for m in net.modules()] == modes
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.requires_grad == (name != "conv2.weight")
        if name == "linear.bias":
            assert torch.equal(parameter.grad, torch.ones(10))
        else:
            assert parameter.grad is None
    assert x.grad is None


def test_a_start_can_be_handed_in() -> None:
    """One step of 0.01 along the sign, from that start and not from the picture."""
    start = X + 0.02 * W.sign()
    attack = PGD(Linf(EPS), steps=1, step_size=0.01)
    found = attack.ascend(lambda z: cross_entropy(two_classes(z), Y), X, start)
    expected = X + 0.02 * W.sign() + 0.01 * uphill().sign()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_objective_is_ascended_example_by_example() -> None:
    """Objectives of very different size do not shorten each other's steps."""
    sizes = torch.tensor([1e-6, 1e6, 1, 1, 1, 1]).double()
    attack = PGD(L2(0.1), steps=1, step_size=0.1, random_start=False)
    found = attack.ascend(lambda z: sizes * (z * W).flatten(1).sum(1), X, X)
    torch.testing.assert_close(found, X + 0.1 * W / W.norm())


def test_inner_maximisation_of_trades_gives_the_authors_numbers() -> None:
    golden = golden_file("trades")
    net, x = golden_net(golden), golden["x"]
    attack = PGD(Linf(0.031), steps=10, step_size=0.007)
    with evaluating(net):
        clean = net(x).detach()
        x_adv = attack.ascend(
            lambda z: kl_divergence(clean, net(z)), x, x + 0.001 * golden["start_noise"]
        )
    torch.testing.assert_close(x_adv, golden["x_adv"], rtol=0, atol=1e-8)
    assert (x_adv - x).abs().max() > 0.03, "the golden attack moves"


@pytest.mark.parametrize(
    ("attack", "step", "text"),
    [
        (
            PGD(Linf(8 / 255)),
            2 / 255,
            "PGD-10(Linf(eps=8/255), step=2/255, random start, cross_entropy)",
        ),
        (
            PGD(L2(0.5), 20, 0.1, random_start=False, loss=margin),
            0.1,
            "PGD-20(L2(eps=0.5), step=0.1, no random start, margin)",
        ),
    ],
    ids=["default", "l2"],
)
def test_step_and_repr_say_what_runs(attack: PGD, step: float, text: str) -> None:
    assert attack.step == pytest.approx(step, rel=1e-12)
    assert repr(attack) == text


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_is_an_error(steps: int) -> None:
    with pytest.raises(ValueError, match=f"^steps must be at least 1, not {steps}$"):
        PGD(Linf(EPS), steps=steps)


@pytest.mark.parametrize("step_size", [0.0, -0.1, float("nan")])
def test_a_step_that_is_no_step_is_an_error(step_size: float) -> None:
    with pytest.raises(ValueError, match=r"^step_size must be positive \(in pixels\), not"):
        PGD(Linf(EPS), step_size=step_size)


def test_any_callable_is_a_model() -> None:
    forward: Forward = lambda z: z.flatten(1)[:, :3]  # noqa: E731
    assert PGD(Linf(EPS))(forward, X, Y, DRAWS).shape == X.shape
