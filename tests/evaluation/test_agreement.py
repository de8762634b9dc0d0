"""How far two forms of a network lie apart, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hardy.evaluation.agreement import DIFFERENCE, SAME, agreement, agreements
from hardy.evaluation.statistics import wilson

# Mean 2, squared distances 4, 0, 4, 0: the standard deviation is √2.
LOGITS = torch.tensor([[0.0, 2.0], [4.0, 2.0]])
X = torch.zeros(2, 1, 1, 1)


def shifted(*rows: tuple[float, float]) -> Tensor:
    return LOGITS + torch.tensor(rows)


def compared(other: Tensor, batch_size: int = 2):
    """With a form that gives `other`, however it is asked."""
    given = iter(other.split(batch_size))
    return agreement(LOGITS, lambda x: next(given), X, batch_size)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_largest_difference_and_who_keeps_its_class(batch_size: int) -> None:
    found = compared(shifted((0.25, 0.0), (-2.5, 0.0)), batch_size)
    assert found.difference == 2.5
    assert found.spread == pytest.approx(math.sqrt(2))
    assert found.relative == pytest.approx(2.5 / math.sqrt(2))
    assert found.same.tolist() == [True, False]
    assert found.within(1.77) and not found.within(1.76)


def test_it_is_asked_in_batches_of_that_size() -> None:
    seen: list[int] = []

    def other(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.flatten(1)

    x = torch.rand(5, 1, 1, 3)
    found = agreement(x.flatten(1), other, x, 2)
    assert seen == [2, 2, 1]
    assert (found.difference, found.relative, found.same.all().item()) == (0, 0, True)


def test_no_number_is_within_no_tolerance() -> None:
    for wrong in (math.nan, math.inf):
        assert not compared(shifted((0, 0), (wrong, 0))).within(1e9)


def test_logits_without_a_spread_must_be_equal() -> None:
    level = torch.ones(2, 3)
    assert agreement(level, lambda x: level, X, 2).within(0)
    assert not agreement(level, lambda x: level + 1e-6, X, 2).within(1e9)


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 1\), the network of \(2, 2\)"):
        agreement(LOGITS, lambda x: x.flatten(1), X, 2)


def test_the_measurements_say_what_was_compared() -> None:
    found = compared(shifted((0.25, 0.0), (-2.5, 0.0)))
    apart, same = agreements(found, "test", "network.onnx", {"format": "onnx"})
    assert (apart.quantity, apart.value, apart.n, apart.subject) == (
        DIFFERENCE,
        2.5,
        2,
        "network.onnx",
    )
    assert apart.setting["relative"] == found.relative and apart.setting["format"] == "onnx"
    assert (same.quantity, same.value, same.interval) == (SAME, 0.5, wilson(1, 2))
