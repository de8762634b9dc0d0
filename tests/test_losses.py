"""Losses against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from hardy.losses import (
    cross_entropy,
    full,
    kl_divergence,
    log_odds_against,
    margin,
    probabilities,
    squared_error,
)

# Logits whose softmax is (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2), up to a constant.
HALF_FIRST = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=torch.float64)
HALF_LAST = torch.tensor([[5.0, 5.0, 5.0 + math.log(2)]], dtype=torch.float64)


def one(index: int) -> Tensor:
    return torch.tensor([index])


def test_cross_entropy_by_hand() -> None:
    assert cross_entropy(HALF_FIRST, one(0)).item() == pytest.approx(math.log(2), rel=1e-14)
    assert cross_entropy(HALF_FIRST, one(1)).item() == pytest.approx(math.log(4), rel=1e-14)
    assert cross_entropy(torch.zeros(1, 10), one(3)).item() == pytest.approx(math.log(10))


def test_cross_entropy_is_one_value_an_example() -> None:
    logits = torch.cat([HALF_FIRST, HALF_LAST])
    found = cross_entropy(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([math.log(2), math.log(4)]).double())


def test_kl_by_hand_is_summed_over_the_classes() -> None:
    """1/2 ln 2 + 1/4 ln 1 + 1/4 ln(1/2) = 1/4 ln 2; a mean over classes would be a third."""
    found = kl_divergence(HALF_FIRST, HALF_LAST)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(math.log(2) / 4, rel=1e-12)


def test_kl_is_not_symmetric_and_zero_only_for_the_same() -> None:
    """KL((1/2,1/2) || (3/4,1/4)) = ln 2 - 1/2 ln 3, the other way 3/4 ln 3 - ln 2."""
    even, odd = torch.zeros(1, 2).double(), torch.tensor([[math.log(3), 0.0]]).double()
    ln2, ln3 = math.log(2), math.log(3)
    assert kl_divergence(even, odd).item() == pytest.approx(ln2 - ln3 / 2, abs=1e-7)
    assert kl_divergence(odd, even).item() == pytest.approx(0.75 * ln3 - ln2, abs=1e-7)
    assert kl_divergence(odd, odd + 7).item() == pytest.approx(0, abs=1e-12)


def test_kl_sends_gradients_to_both_sides() -> None:
    p, q = HALF_FIRST.clone().requires_grad_(), HALF_LAST.clone().requires_grad_()
    kl_divergence(p, q).sum().backward()
    assert p.grad is not None and q.grad is not None
    # d KL / d logits_q = softmax(q) - softmax(p)
    torch.testing.assert_close(q.grad, torch.tensor([[-0.25, 0.0, 0.25]]).double())


def test_kl_of_saturated_logits_is_finite() -> None:
    """Probability 0 times log 0 is 0, here and in the gradient."""
    p = torch.tensor([[200.0, -200.0]], requires_grad=True)
    q = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    value = kl_divergence(p, q).sum()
    assert value.item() == 400
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, [p, q]))


def test_margin_is_positive_where_misclassified() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5], [-4.0, -1.0, -9.0]])
    assert margin(logits, torch.tensor([0, 1, 1])).tolist() == [-0.5, 2.0, -3.0]


def test_log_odds_by_hand() -> None:
    """Of (1/2, 1/4, 1/4) they are even against class 0 and 3 : 1 against the others; cross-entropy
    is softplus of them."""
    for y, odds in ((0, 1.0), (1, 3.0)):
        found = log_odds_against(HALF_FIRST, one(y))
        assert found.item() == pytest.approx(math.log(odds), abs=1e-14)
        assert cross_entropy(HALF_FIRST, one(y)).item() == pytest.approx(math.log1p(odds))


def test_log_odds_point_where_cross_entropy_does_and_do_not_vanish() -> None:
    logits = torch.tensor([[30.0, 1.0, 2.0]], requires_grad=True)
    (odds,) = torch.autograd.grad(log_odds_against(logits, one(0)).sum(), logits)
    share = 1 / (1 + math.e)
    torch.testing.assert_close(odds, torch.tensor([[-1, share, 1 - share]]))
    (naive,) = torch.autograd.grad(cross_entropy(logits, one(0)).sum(), logits)
    assert naive[0, 0] == 0, "the right class is lost to rounding"
    exact = logits.detach().double().requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(exact, one(0)).sum(), exact)
    torch.testing.assert_close(odds.double(), -grad / grad[0, 0], rtol=1e-3, atol=1e-6)


def test_probabilities_by_hand() -> None:
    """Whatever constant is added to the logits, and however large they are."""
    expected = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2]]).double()
    found = probabilities(torch.cat([HALF_FIRST, HALF_LAST + 1000]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_squared_error_by_hand_is_summed_over_the_classes() -> None:
    """(1/4)^2 + 0 + (1/4)^2 of the one, 1 + 1 between two certain classes."""
    p = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1, 0, 0]])
    q = torch.tensor([[1 / 4, 1 / 4, 1 / 2], [0, 0, 1]])
    assert squared_error(p, q).tolist() == [1 / 8, 2]


def test_two_classes() -> None:
    """With two classes the cross-entropy is softplus of the margin."""
    logits = torch.tensor([[1.0, 3.0], [2.0, -1.0]]).double()
    y = torch.tensor([0, 0])
    assert margin(logits, y).tolist() == [2.0, -3.0]
    torch.testing.assert_close(cross_entropy(logits, y), margin(logits, y).exp().log1p())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (torch.linspace(-2, 2, 30).view(3, 10)).to(dtype)
    y = torch.tensor([0, 4, 9])
    assert torch.equal(cross_entropy(logits, y), cross_entropy(logits.float(), y))
    assert torch.equal(margin(logits, y), margin(logits.float(), y))
    assert torch.equal(probabilities(logits), probabilities(logits.float()))
    found = kl_divergence(logits, logits.flip(1))
    assert found.dtype == probabilities(logits).dtype == torch.float32
    assert torch.equal(found, kl_divergence(logits.float(), logits.float().flip(1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_types_stay_as_they_are(dtype: torch.dtype) -> None:
    logits, y = torch.ones(2, 3, dtype=dtype), torch.tensor([0, 1])
    assert full(logits) is logits
    values = [cross_entropy(logits, y), margin(logits, y), kl_divergence(logits, logits)]
    values += [probabilities(logits), squared_error(logits, logits)]
    assert all(value.dtype == dtype for value in values)


Y = torch.tensor([0, 2, 1, 2])


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: cross_entropy(a, Y) + 0 * b[:, 0],
        lambda a, b: margin(a, Y) + 0 * b[:, 0],
        lambda a, b: log_odds_against(a, Y) + 0 * b[:, 0],
        kl_divergence,
        lambda a, b: squared_error(probabilities(a), probabilities(b)),
    ],
    ids=["cross_entropy", "margin", "log_odds", "kl_divergence", "squared_error"],
)
def test_gradients_agree_with_finite_differences(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    assert gradcheck(loss, (a.requires_grad_(), b.requires_grad_()))
